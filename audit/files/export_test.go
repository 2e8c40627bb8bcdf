package files

// WithFaults has a function asked before operations on files, which its error
// fails: write (in the middle), sync, truncate, rename, create and pack.
func WithFaults(o Options, fault func(operation, name string) error) Options {
	o.fault = fault
	return o
}
