package daemon

import (
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/valyala/fasthttp"
)

// answer is what one input of several came to.
type answer struct {
	decided
	problem *problem
}

// decideAll decides inputs side by side and keeps their order.
func (d *Daemon) decideAll(rq *request, inputs []jsontext.Value) []answer {
	answers := make([]answer, len(inputs))
	d.sideBySide(rq, len(inputs),
		func(i int) { answers[i].decided, answers[i].problem = d.decide(rq, inputs[i]) },
		func(i int, p *problem) { answers[i] = answer{problem: p} })
	return answers
}

// sideBySide calls one for 0 to n-1, several at a time: that they are in flight
// together also lets their records share one fsync. A panic, which would end
// the whole process here, is given to crashed instead.
func (d *Daemon) sideBySide(rq *request, n int, one func(i int), crashed func(i int, p *problem)) {
	var next atomic.Int64
	var work sync.WaitGroup
	for range min(n, max(16, 4*runtime.GOMAXPROCS(0))) {
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
