package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// send uploads a picture of so many bytes and gives the time until the answer.
func (b *bench) send(s *server, size int64) (time.Duration, error) {
	const boundary = "----bench"
	head := "--" + boundary + "\r\nContent-Disposition: form-data; name=\"image\"; filename=\"bench.png\"\r\nContent-Type: image/png\r\n\r\n"
	tail := "\r\n--" + boundary + "--\r\n"
	c, err := dial(b.ctx, s.addr)
	if err != nil {
		return 0, err
	}
	defer c.close()
	request := fmt.Appendf(nil, "POST /upload/image HTTP/1.1\r\nHost: %s\r\nContent-Type: multipart/form-data; boundary=%s\r\nContent-Length: %d\r\n%s\r\n",
		s.addr, boundary, int64(len(head)+len(tail))+size, s.credential(byToken))
	body := io.MultiReader(strings.NewReader(head), io.LimitReader(blank{}, size), strings.NewReader(tail))
	began := time.Now()
	status, _, err := c.exchange(request, body)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("answers %d", status)
	}
	if err != nil {
		return 0, fmt.Errorf("upload to %s: %w", s.name, err)
	}
	return time.Since(began), nil
}

// blank is an endless picture.
type blank struct{}

func (blank) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func (b *bench) upload() error {
	l, err := b.rawLine(nginx, caddy, oauth2)
	if err != nil {
		return err
	}
	defer l.stop()
	size := int64(pick(b, 200, 50)) << 20
	r := b.add(&row{what: fmt.Sprintf("%d MB upload", size>>20), unit: "MB/s"})
	for round := range pick(b, 7, 3) {
		for i := range l.servers {
			s := l.servers[(i+round)%len(l.servers)]
			took, err := b.send(s, size)
			if err != nil {
				return err
			}
			r.put(s.name, float64(size)/1e6/took.Seconds())
		}
	}
	return nil
}

// memory is by how much large bodies make a fresh process grow.
func (b *bench) memory() error {
	size := int64(pick(b, 1024, 256)) << 20
	up := b.add(&row{what: fmt.Sprintf("memory for %d MB up", size>>20), unit: "MB", lower: true, goals: []goal{{"", 24, 8}}})
	down := b.add(&row{what: fmt.Sprintf("memory for %d MB down", size>>20), unit: "MB", lower: true, goals: []goal{{"", 24, 8}}})
	for range pick(b, 3, 1) {
		for _, r := range []*row{up, down} {
			if err := b.grow(r, size); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) grow(r *row, size int64) error {
	l, err := b.rawLine(nginx, caddy)
	if err != nil {
		return err
	}
	defer l.stop()
	for _, s := range l.servers[1:] {
		grown, err := s.process.peak(func() error {
			if strings.HasSuffix(r.what, "up") {
				_, err := b.send(s, size)
				return err
			}
			return b.fetch(s, size)
		})
		if err != nil {
			return err
		}
		r.put(s.name, float64(grown)/(1<<20))
	}
	return nil
}

// fetch downloads a picture of so many bytes.
func (b *bench) fetch(s *server, size int64) error {
	c, err := dial(b.ctx, s.addr)
	if err != nil {
		return err
	}
	defer c.close()
	status, n, err := c.exchange(s.get(fmt.Sprintf("/view?filename=%d.png", size), byToken), nil)
	if err == nil && (status != http.StatusOK || n != size) {
		err = fmt.Errorf("answers %d with %d bytes", status, n)
	}
	if err != nil {
		return fmt.Errorf("download from %s: %w", s.name, err)
	}
	return nil
}
