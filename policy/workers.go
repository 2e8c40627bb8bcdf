package policy

// maxIdle is how many goroutines wait for the next evaluation.
const maxIdle = 64

// idle are goroutines that have evaluated before. An evaluation needs a deep
// stack, and growing one anew takes as long as a small evaluation does.
var idle = make(chan chan<- func(), maxIdle)

// onWorker runs f on a goroutine of its own, one whose stack is grown already
// where there is one.
func onWorker(f func()) {
	select {
	case w := <-idle:
		w <- f
	default:
		go work(f)
	}
}

// work runs f, and then whatever it is given, while there is room to wait.
func work(f func()) {
	next := make(chan func())
	for {
		f()
		select {
		case idle <- next:
			f = <-next
		default:
			return
		}
	}
}
