package cache

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

var (
	headBegins = regexp.MustCompile(`(?i)<head(?:\s[^>]*)?>`)
	headEnds   = regexp.MustCompile(`(?i)</head\s*>`)
)

// hinted puts into the page's head what makes it faster: the script at its
// beginning, and at its end, since an import map must come before them, hints at
// the scripts that earlier loads asked for. Without them the browser finds these
// in waves, and waits at each. A page without a head stays as it is.
func (c *Cache) hinted() []byte {
	html := c.front.html
	begin, end := headBegins.FindIndex(html), headEnds.FindIndex(html)
	if begin == nil || end == nil || end[0] < begin[1] {
		return html
	}
	var out bytes.Buffer
	out.Write(html[:begin[1]])
	if len(c.opts.Early) > 0 {
		fmt.Fprintf(&out, "<script>%s</script>", c.opts.Early)
	}
	out.Write(html[begin[1]:end[0]])
	named := named(html, c.front.build)
	scripts := slices.DeleteFunc(slices.Clone(c.front.seen), func(file string) bool {
		return !strings.HasSuffix(file, "js") || slices.Contains(named, file)
	})
	for _, file := range c.mixed(named, scripts) {
		fmt.Fprintf(&out, `<link rel="modulepreload" crossorigin href=".%s%s/%s">`, Prefix, c.front.build, escape(file))
	}
	out.Write(html[end[0]:])
	return out.Bytes()
}

const (
	largeFile = 64 << 10 // bytes as gzip, which take longer on the line than the question for them
	question  = 24 << 10 // bytes that go by at 20 Mbit/s while one of six connections waits for 40 ms
)

// mixed puts large files among the small ones, so that one of them is on the line
// while the other connections wait for answers to small questions: the line is
// not idle, and the connections are not all taken by large files. The files in
// first have been asked for before.
func (c *Cache) mixed(first, files []string) []string {
	size := func(file string) int {
		if e := c.lookup(Prefix + c.front.build + "/" + file); e != nil {
			return len(e.bodies.gzip)
		}
		return 0
	}
	var small, large, out []string
	for _, file := range files {
		if size(file) < largeFile {
			small = append(small, file)
		} else {
			large = append(large, file)
		}
	}
	sent := 0
	for _, file := range first {
		sent += size(file)
	}
	for len(small) > 0 && len(large) > 0 {
		if sent > 0 {
			out, small, sent = append(out, small[0]), small[1:], sent-question
		} else {
			out, large, sent = append(out, large[0]), large[1:], sent+size(large[0])
		}
	}
	return slices.Concat(out, small, large)
}
