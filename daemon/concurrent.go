package daemon

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/valyala/fasthttp"
)

// answer is what one input of several came to.
type answer struct {
	decided
	problem *problem
}

// decideAll decides inputs on every processor and keeps their order. The records of
// all are under way before the first is waited for, so that they share a write.
func (d *Daemon) decideAll(rq *request, inputs []jsontext.Value) []answer {
	answers := make([]answer, len(inputs))
	begun := make([]deciding, len(inputs))
	d.sideBySide(rq, len(inputs), runtime.GOMAXPROCS(0),
		func(i int) { answers[i].problem = d.begin(&begun[i], rq, inputs[i], time.Now()) },
		func(i int, p *problem) { answers[i].problem = p })
	for i := range answers {
		if answers[i].problem == nil {
			answers[i].problem = d.settle(&begun[i])
			answers[i].decided = begun[i].decided
		}
	}
	return answers
}

// sideBySide calls one for 0 to n-1, some at a time. A panic, which would end
// the whole process here, is given to crashed instead.
func (d *Daemon) sideBySide(rq *request, n, atOnce int, one func(i int), crashed func(i int, p *problem)) {
	var next atomic.Int64
	var work sync.WaitGroup
	for range min(n, atOnce) {
		work.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				func() {
					defer func() {
						if r := recover(); r != nil {
							crashed(i, d.crash(rq, r))
						}
					}()
					one(i)
				}()
			}
		})
	}
	work.Wait()
}

// crash is the refusal that a panic becomes.
func (d *Daemon) crash(rq *request, cause any) *problem {
	d.log.Error("panic in a request", "panic", cause, "request_id", rq.id)
	return refuse(fasthttp.StatusInternalServerError, "internal_error", "the daemon failed; its log has the cause under request id %s", rq.id)
}
