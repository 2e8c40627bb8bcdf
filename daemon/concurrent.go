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

// decideAll decides inputs side by side and keeps their order. That they are
// in flight together also lets their records share one fsync.
func (d *Daemon) decideAll(rq *request, inputs []jsontext.Value) []answer {
	answers := make([]answer, len(inputs))
	workers := min(len(inputs), max(16, 4*runtime.GOMAXPROCS(0)))
	var next atomic.Int64
	var work sync.WaitGroup
	for range workers {
		work.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(inputs) {
					return
				}
				answers[i] = d.decideOne(rq, inputs[i])
			}
		})
	}
	work.Wait()
	return answers
}

// decideOne is decide where a panic would end the whole process.
func (d *Daemon) decideOne(rq *request, input jsontext.Value) (a answer) {
	defer func() {
		if r := recover(); r != nil {
			d.log.Error("panic in a request", "panic", r, "request_id", rq.id)
			a = answer{problem: refuse(fasthttp.StatusInternalServerError, "internal_error", "the daemon failed; its log has the cause under request id %s", rq.id)}
		}
	}()
	a.decided, a.problem = d.decide(rq, input)
	return a
}
