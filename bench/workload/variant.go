package workload

import "strings"

// Variant is the reference workload with one more suspended principal, who
// never asks: another policy, with other constants, that decides all inputs
// alike. So versions and zones can have policies of their own.
func Variant(label string) *Workload {
	w := Reference()
	const last = `"p-09500"}`
	w.Modules[0].Content = strings.Replace(w.Modules[0].Content, last, `"p-09500", "x-`+label+`"}`, 1)
	return w
}
