package engine

// Shared are the names of the functions that two programs share.
func Shared(a, b *Program) []string {
	var names []string
	for i, f := range a.functions {
		if i < len(b.functions) && f == b.functions[i] {
			names = append(names, f.name)
		}
	}
	return names
}
