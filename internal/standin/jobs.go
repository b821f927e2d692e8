package standin

import (
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"
)

var jobStates = []string{"pending", "in_progress", "completed", "failed", "cancelled"}

// job is a prompt as /api/jobs shows it (0.24.0).
type job struct {
	*item
	state string
}

func (s *Server) jobs() []job {
	var all []job
	running, pending := s.queue.lists()
	for _, it := range pending {
		all = append(all, job{it, "pending"})
	}
	for _, it := range running {
		all = append(all, job{it, "in_progress"})
	}
	for _, it := range s.queue.past() {
		switch {
		case it.finished.interrupted:
			all = append(all, job{it, "cancelled"})
		case it.finished.failure != nil:
			all = append(all, job{it, "failed"})
		default:
			all = append(all, job{it, "completed"})
		}
	}
	return all
}

func (j job) over() bool { return j.state != "pending" && j.state != "in_progress" }

func (j job) workflowID() any {
	v, _ := j.extra.object("extra_pnginfo").object("workflow").get("id")
	return v
}

// summary leaves out what is not known, as ComfyUI does.
func (j job) summary() *object {
	o := obj("id", j.id, "status", j.state, "priority", j.number, "create_time", j.created)
	count := 0
	var preview *object
	if j.over() {
		o.set("execution_start_time", j.finished.started)
		o.set("execution_end_time", j.finished.ended)
		if j.finished.failure != nil {
			o.set("execution_error", j.finished.failure)
		}
		count, preview = j.results()
	}
	o.set("outputs_count", count)
	if preview != nil {
		o.set("preview_output", preview)
	}
	if id := j.workflowID(); id != nil {
		o.set("workflow_id", id)
	}
	return o
}

// results counts the files and picks the one to show: a saved one before a temporary one.
func (j job) results() (count int, preview *object) {
	outputs := j.entry.object("outputs")
	for _, id := range outputs.keys {
		ui := outputs.object(id)
		for _, kind := range ui.keys {
			files, _ := ui.vals[kind].([]any)
			for _, f := range files {
				file, ok := f.(*object)
				if !ok {
					continue
				}
				count++
				if preview == nil || preview.str("type") != "output" && file.str("type") == "output" {
					preview = file.clone()
					preview.set("nodeId", id)
					preview.set("mediaType", kind)
				}
			}
		}
	}
	return count, preview
}

func (s *Server) getJob(w http.ResponseWriter, _ *http.Request, params []string) {
	for _, j := range s.jobs() {
		if j.id != params[0] {
			continue
		}
		o := j.summary()
		if j.over() {
			o.set("outputs", j.entry.object("outputs"))
			o.set("execution_status", j.entry.object("status"))
			o.set("workflow", obj("prompt", j.prompt, "extra_data", j.extra))
		}
		answer(w, http.StatusOK, o)
		return
	}
	answer(w, http.StatusNotFound, obj("error", "Job not found"))
}

// jobQuery is GET /api/jobs?status=&workflow_id=&sort_by=&sort_order=&limit=&offset=.
type jobQuery struct {
	states        []string
	workflow      string
	byDuration    bool
	ascending     bool
	limit, offset int // limit 0: none
}

func readJobQuery(r *http.Request) (q jobQuery, problem string) {
	if v, _ := query(r, "status"); v != "" {
		var unknown []string
		for st := range strings.SplitSeq(v, ",") {
			if st = strings.ToLower(strings.TrimSpace(st)); !slices.Contains(jobStates, st) {
				unknown = append(unknown, st)
			}
			q.states = append(q.states, st)
		}
		if unknown != nil {
			return q, "Invalid status value(s): " + strings.Join(unknown, ", ") + ". Valid values: " + strings.Join(jobStates, ", ")
		}
	}
	q.workflow, _ = query(r, "workflow_id")
	switch v, there := query(r, "sort_by"); {
	case v == "execution_duration":
		q.byDuration = true
	case there && v != "created_at":
		return q, "sort_by must be 'created_at' or 'execution_duration'"
	}
	switch v, there := query(r, "sort_order"); {
	case v == "asc":
		q.ascending = true
	case there && v != "desc":
		return q, "sort_order must be 'asc' or 'desc'"
	}
	var err error
	if v, there := query(r, "limit"); there {
		if q.limit, err = strconv.Atoi(v); err != nil {
			return q, "limit must be an integer"
		}
		if q.limit <= 0 {
			return q, "limit must be a positive integer"
		}
	}
	if v, there := query(r, "offset"); there {
		if q.offset, err = strconv.Atoi(v); err != nil {
			return q, "offset must be an integer"
		}
		q.offset = max(q.offset, 0)
	}
	return q, ""
}

func (q jobQuery) wants(j job) bool {
	return (q.states == nil || slices.Contains(q.states, j.state)) && (q.workflow == "" || j.workflowID() == q.workflow)
}

func (s *Server) getJobs(w http.ResponseWriter, r *http.Request, _ []string) {
	q, problem := readJobQuery(r)
	if problem != "" {
		answer(w, http.StatusBadRequest, obj("error", problem))
		return
	}
	var all []job
	for _, j := range s.jobs() {
		if q.wants(j) {
			all = append(all, j)
		}
	}
	by := func(j job) int64 {
		if q.byDuration && !j.over() {
			return 0
		}
		if q.byDuration {
			return j.finished.ended - j.finished.started
		}
		return j.created
	}
	sort.SliceStable(all, func(i, k int) bool {
		if q.ascending {
			return by(all[i]) < by(all[k])
		}
		return by(all[i]) > by(all[k])
	})
	total := len(all)
	all = all[min(q.offset, total):]
	var limit any
	if q.limit > 0 {
		limit = q.limit
		all = all[:min(q.limit, len(all))]
	}
	shown := list{}
	for _, j := range all {
		shown = append(shown, j.summary())
	}
	answer(w, http.StatusOK, obj("jobs", shown, "pagination",
		obj("offset", q.offset, "limit", limit, "total", total, "has_more", q.offset+len(all) < total)))
}
