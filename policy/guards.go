package policy

import (
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// guards has every built-in whose result may be larger than a number, and
// those that could spend long on a small operand. What is not listed here
// (comparisons, type tests, lookups) builds nothing to speak of.
var guards = guardTable()

func guardTable() map[string]guard {
	table := map[string]guard{
		// Results that are not bounded by the size of the operands.
		"numbers.range":           rangeSize,
		"numbers.range_step":      rangeSize,
		"bits.lsh":                shiftSize,
		"sprintf":                 sprintfSize,
		"strings.render_template": templateSize,
		"net.cidr_expand":         cidrSize,
		"graph.reachable_paths":   pathsSize,
		"concat":                  concatSize,
		"replace":                 replaceSize,
		"strings.replace_n":       replaceNSize,
		"regex.replace":           regexReplaceSize,
		"strings.split_n":         splitSize,
		"split":                   splitSize,
		"product":                 productSize,
		"internal.print":          printSize,
	}
	add := func(g guard, names ...string) {
		for _, name := range names {
			table[name] = g
		}
	}
	// Numbers grow by repeated arithmetic.
	add(arithmeticSize, "plus", "minus", "mul", "div", "rem", "abs", "round", "ceil", "floor",
		"bits.and", "bits.or", "bits.xor", "bits.negate", "bits.rsh", "format_int", "sum", "to_number")
	// Texts as long as the operand, in at most this many bytes for each of its bytes.
	add(textTimes(4), "lower", "upper", "trim", "trim_left", "trim_prefix", "trim_right", "trim_suffix", "trim_space",
		"substring", "strings.reverse", "base64.encode", "base64.decode", "base64url.encode", "base64url.encode_no_pad",
		"base64url.decode", "hex.encode", "hex.decode", "urlquery.encode", "urlquery.decode", "glob.quote_meta",
		"crypto.md5", "crypto.sha1", "crypto.sha256", "crypto.hmac.md5", "crypto.hmac.sha1", "crypto.hmac.sha256",
		"crypto.hmac.sha512", "regex.match", "regex.is_valid", "regex.globs_match", "regex.template_match", "glob.match")
	// Texts turned into values.
	add(textTimes(128), "json.unmarshal", "json.is_valid", "indexof_n",
		"urlquery.decode_object", "uri.parse", "regex.split", "rego.parse_module", "io.jwt.decode",
		"crypto.x509.parse_certificates", "crypto.x509.parse_certificate_request", "crypto.x509.parse_keypair",
		"crypto.x509.parse_rsa_private_key", "crypto.parse_private_keys", "providers.aws.sign_req")
	add(yamlSize, "yaml.unmarshal", "yaml.is_valid")
	add(matchesSize, "regex.find_n", "regex.find_all_string_submatch_n")
	add(graphqlSize, "graphql.parse", "graphql.parse_and_verify", "graphql.parse_query", "graphql.parse_schema",
		"graphql.is_valid", "graphql.schema_is_valid")
	add(textTimes(4), "time.parse_ns")
	add(treeTimes(4), "time.clock", "time.date", "time.weekday", "time.format", "time.add_date", "time.diff")
	// Values turned into texts or copied in depth.
	add(treeTimes(2), "json.marshal", "yaml.marshal", "urlquery.encode_object", "object.union", "object.union_n",
		"object.filter", "object.remove", "object.subset", "json.filter", "json.remove", "json.patch", "walk",
		"array.flatten", "internal.template_string", "net.cidr_merge", "net.cidr_contains_matches",
		"strings.any_prefix_match", "strings.any_suffix_match", "graph.reachable", "union", "intersection")
	add(jsonIndentSize, "json.marshal_with_options")
	// Values gone through in depth, which takes no memory.
	add(affordable, "equal", "neq", "lt", "lte", "gt", "gte")
	// Collections of the same elements.
	add(slots, "array.concat", "array.slice", "array.reverse", "and", "or", "sort", "object.keys")
	return table
}

// printSize is that of the lines that a print makes: one for each combination of what
// its operands, an array of sets, may be.
func printSize(args []ast.Value, most int64) int64 {
	operands, ok := args[0].(*ast.Array)
	if !ok {
		return 0
	}
	size, lines := int64(scalarSize), int64(1)
	for i := range operands.Len() {
		v := operands.Elem(i).Value
		if size += 4 * treeSize(v, most); size >= most {
			return size
		}
		if set, ok := v.(ast.Set); ok {
			lines *= int64(max(1, set.Len()))
		}
		if lines >= most {
			return most
		}
	}
	if lines > most/size {
		return most
	}
	return lines * size
}

// text is the string at args[i], or "".
func text(args []ast.Value, i int) string {
	if i < len(args) {
		if s, ok := args[i].(ast.String); ok {
			return string(s)
		}
	}
	return ""
}

func textTimes(factor int64) guard {
	return func(args []ast.Value, _ int64) int64 {
		size := int64(scalarSize)
		for i := range args {
			size += factor * int64(len(text(args, i)))
		}
		return size
	}
}

func treeTimes(factor int64) guard {
	return func(args []ast.Value, most int64) int64 {
		var size int64
		for _, a := range args {
			size += factor * treeSize(a, most)
		}
		return size
	}
}

// affordable charges nothing, but stops a comparison of values that share so
// many parts that going through them would never end.
func affordable(args []ast.Value, most int64) int64 {
	for _, a := range args {
		switch a.(type) {
		case *ast.Array, ast.Set, ast.Object:
			if size := treeSize(a, most); size >= most {
				return size
			}
		}
	}
	return 0
}

// jsonIndentSize allows for the prefix and the indentation of every line.
func jsonIndentSize(args []ast.Value, most int64) int64 {
	var per int64 = 2
	if options, ok := operand[ast.Object](args, 1); ok {
		for _, name := range []string{"prefix", "indent"} {
			if t := options.Get(ast.StringTerm(name)); t != nil {
				if s, ok := t.Value.(ast.String); ok {
					per += int64(len(s)) * MaxInputDepth
				}
			}
		}
	}
	return times(per, treeSize(args[0], most))
}

func slots(args []ast.Value, _ int64) int64 {
	size := int64(scalarSize)
	for _, a := range args {
		size += slotSize * length(a)
	}
	return size
}

// length is the number of elements of a collection.
func length(v ast.Value) int64 {
	switch v := v.(type) {
	case *ast.Array:
		return int64(v.Len())
	case ast.Set:
		return int64(v.Len())
	case ast.Object:
		return int64(v.Len())
	}
	return 0
}

func operand[T ast.Value](args []ast.Value, i int) (T, bool) {
	var none T
	if i >= len(args) {
		return none, false
	}
	v, ok := args[i].(T)
	return v, ok
}

// times multiplies sizes without overflow.
func times(a, b int64) int64 {
	if a > 0 && b > math.MaxInt64/a {
		return math.MaxInt64
	}
	return a * b
}

// maxDigits is the most digits that a number in arithmetic may have when
// written without an exponent.
const maxDigits = 1 << 14

// digits is about how many digits a number has without its exponent.
func digits(n string) int64 {
	mantissa, exponent := n, ""
	if i := strings.IndexAny(n, "eE"); i >= 0 {
		mantissa, exponent = n[:i], n[i+1:]
	}
	size := int64(len(mantissa))
	if exponent != "" {
		e, err := strconv.ParseInt(exponent, 10, 32)
		if err != nil {
			return math.MaxInt32
		}
		size += max(e, -e)
	}
	return size
}

// numbersIn adds up the digits of the numbers among and one level below args.
func numbersIn(args []ast.Value) (total, longest int64) {
	count := func(v ast.Value) {
		var d int64
		switch v := v.(type) {
		case ast.Number:
			d = digits(string(v))
		case ast.String: // to_number reads those that are numbers
			if strings.Trim(string(v), "+-.0123456789eE") == "" {
				d = digits(string(v))
			}
		}
		total, longest = total+d, max(longest, d)
	}
	for _, a := range args {
		switch a := a.(type) {
		case *ast.Array:
			for i := range a.Len() {
				count(a.Elem(i).Value)
			}
		case ast.Set:
			a.Foreach(func(t *ast.Term) { count(t.Value) })
		default:
			count(a)
		}
	}
	return total, longest
}

func arithmeticSize(args []ast.Value, _ int64) int64 {
	total, longest := numbersIn(args)
	if longest > maxDigits {
		return math.MaxInt64
	}
	var elements int64
	for _, a := range args { // minus is also the difference of sets
		if s, ok := a.(ast.Set); ok {
			elements += int64(s.Len())
		}
	}
	return scalarSize + total + slotSize*elements
}

func productSize(args []ast.Value, _ int64) int64 {
	total, _ := numbersIn(args)
	if total > maxDigits {
		return math.MaxInt64
	}
	return scalarSize + times(total, 4)
}

func bigInt(args []ast.Value, i int) *big.Int {
	n, ok := operand[ast.Number](args, i)
	if !ok || digits(string(n)) > maxDigits {
		return nil
	}
	if v, ok := new(big.Int).SetString(string(n), 10); ok {
		return v
	}
	r, ok := new(big.Rat).SetString(string(n))
	if !ok || !r.IsInt() {
		return nil
	}
	return r.Num()
}

func rangeSize(args []ast.Value, _ int64) int64 {
	_, longest := numbersIn(args)
	if longest > maxDigits {
		return math.MaxInt64
	}
	from, to := bigInt(args, 0), bigInt(args, 1)
	if from == nil || to == nil {
		return 0
	}
	n := new(big.Int).Sub(to, from)
	n.Abs(n)
	if step := bigInt(args, 2); step != nil && step.Sign() > 0 && len(args) >= 3 {
		n.Quo(n, step)
	}
	if !n.IsInt64() {
		return math.MaxInt64
	}
	return times(n.Int64()+1, 2*scalarSize+longest)
}

func shiftSize(args []ast.Value, _ int64) int64 {
	by := bigInt(args, 1)
	_, longest := numbersIn(args)
	if longest > maxDigits || (by != nil && by.Cmp(big.NewInt(3*maxDigits)) > 0) {
		return math.MaxInt64
	}
	return scalarSize + 4*maxDigits
}

var numeral = regexp.MustCompile(`[0-9]+`)

// sprintfSize supposes that every verb prints the longest operand, as wide as
// the widest number in the format.
func sprintfSize(args []ast.Value, most int64) int64 {
	format := text(args, 0)
	verbs := int64(strings.Count(format, "%"))
	if verbs == 0 {
		return scalarSize + int64(len(format))
	}
	var longest, width int64
	if list, ok := operand[*ast.Array](args, 1); ok {
		for i := 0; i < list.Len() && longest < most; i++ {
			v := list.Elem(i).Value
			longest = max(longest, treeSize(v, most))
			if n, ok := v.(ast.Number); ok {
				if d := digits(string(n)); d > maxDigits {
					return math.MaxInt64
				} else if longest = max(longest, d); strings.Contains(format, "*") {
					if w, ok := n.Int64(); ok { // fmt gives up above a million
						width = max(width, min(max(w, -w), 1e6))
					}
				}
			}
		}
	}
	for _, s := range numeral.FindAllString(format, -1) {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n > 1e6 {
			n = 1e6
		}
		width = max(width, n)
	}
	return int64(len(format)) + times(verbs, 2*longest+2*width)
}

// templateSize supposes that every loop goes over everything there is. A
// template that includes others could double its output at each inclusion, so
// only those without any are let through.
func templateSize(args []ast.Value, most int64) int64 {
	source := text(args, 0)
	for _, word := range []string{"template", "block", "define"} {
		if strings.Contains(source, word) {
			return math.MaxInt64
		}
	}
	if len(args) < 2 {
		return 0
	}
	values := treeSize(args[1], most)
	size := times(int64(len(source))+values, 2)
	for range strings.Count(source, "range") {
		size = times(size, values/scalarSize+1)
	}
	for range strings.Count(source, "print") {
		size = times(size, 1e6)
	}
	return size
}

func cidrSize(args []ast.Value, _ int64) int64 {
	cidr := text(args, 0)
	i := strings.LastIndexByte(cidr, '/')
	if i < 0 {
		return 0
	}
	bits, err := strconv.Atoi(cidr[i+1:])
	if err != nil {
		return 0
	}
	hostBits := 32 - bits
	if strings.Contains(cidr, ":") {
		hostBits = 128 - bits
	}
	if hostBits > 40 {
		return math.MaxInt64
	}
	return times(1<<max(hostBits, 0), 2*scalarSize)
}

// pathsSize walks the paths as the built-in will, counting instead of keeping.
func pathsSize(args []ast.Value, most int64) int64 {
	graph, ok := operand[ast.Object](args, 0)
	if !ok || len(args) < 2 {
		return 0
	}
	var size int64
	neighbors := func(v ast.Value, visit func(*ast.Term)) {
		switch v := v.(type) {
		case *ast.Array:
			v.Foreach(visit)
		case ast.Set:
			v.Foreach(visit)
		}
	}
	onPath := map[string]bool{}
	var follow func(node *ast.Term, depth int64)
	follow = func(node *ast.Term, depth int64) {
		size += slotSize * depth
		name := node.String()
		edges := graph.Get(node)
		if size >= most || edges == nil || onPath[name] {
			return
		}
		onPath[name] = true
		neighbors(edges.Value, func(next *ast.Term) { follow(next, depth+1) })
		delete(onPath, name)
	}
	neighbors(args[1], func(node *ast.Term) { follow(node, 1) })
	return times(size, 4)
}

func concatSize(args []ast.Value, _ int64) int64 {
	if len(args) < 2 {
		return 0
	}
	size := scalarSize + times(int64(len(text(args, 0))), length(args[1]))
	add := func(t *ast.Term) {
		if s, ok := t.Value.(ast.String); ok {
			size += int64(len(s))
		}
	}
	switch list := args[1].(type) {
	case *ast.Array:
		list.Foreach(add)
	case ast.Set:
		list.Foreach(add)
	}
	return size
}

func replaceSize(args []ast.Value, _ int64) int64 {
	s, old, to := text(args, 0), text(args, 1), text(args, 2)
	return scalarSize + int64(len(s)) + times(int64(strings.Count(s, old)), int64(len(to)))
}

func replaceNSize(args []ast.Value, _ int64) int64 {
	patterns, ok := operand[ast.Object](args, 0)
	if !ok {
		return 0
	}
	s := text(args, 1)
	size := int64(scalarSize + len(s))
	patterns.Foreach(func(k, v *ast.Term) {
		from, ok1 := k.Value.(ast.String)
		to, ok2 := v.Value.(ast.String)
		if ok1 && ok2 {
			size += scalarSize + int64(len(from)) + times(int64(strings.Count(s, string(from))), int64(len(to)))
		}
	})
	return size
}

// regexReplaceSize supposes a match at every byte; each "$" of the replacement
// may bring in what was matched, which in all is the text once.
func regexReplaceSize(args []ast.Value, _ int64) int64 {
	s, pattern, to := text(args, 0), text(args, 1), text(args, 2)
	matches := int64(len(s)) + 1
	if len(to) > 0 { // worth counting only then
		if re, err := regexp.Compile(pattern); err == nil {
			matches = int64(len(re.FindAllStringIndex(s, -1)))
		}
	}
	size := scalarSize + int64(len(s)+len(pattern)) + times(matches, int64(len(to)))
	return size + times(int64(strings.Count(to, "$")), int64(len(s)))
}

// matchesSize supposes an empty match at every byte, with every group in it.
func matchesSize(args []ast.Value, _ int64) int64 {
	groups := int64(strings.Count(text(args, 0), "(")) + 1
	matches := int64(len(text(args, 1))) + 1
	if n, ok := operand[ast.Number](args, 2); ok {
		if most, ok := n.Int64(); ok && most >= 0 {
			matches = min(matches, most)
		}
	}
	return times(times(groups, matches), 2*scalarSize)
}

func splitSize(args []ast.Value, _ int64) int64 {
	s := text(args, 0)
	return int64(len(s)) + times(int64(strings.Count(s, text(args, 1)))+1, 2*scalarSize)
}

// yamlSize allows for aliases: the parser lets a short text with them stand for
// 400,000 nodes before it counts how often each is used.
func yamlSize(args []ast.Value, most int64) int64 {
	size := textTimes(128)(args, most)
	if s := text(args, 0); strings.Contains(s, "&") && strings.Contains(s, "*") {
		size += 400_000 * 2 * scalarSize
	}
	return size
}

// graphqlSize refuses documents so long that the recursive parser could run
// out of stack.
func graphqlSize(args []ast.Value, most int64) int64 {
	var size int64
	for i, a := range args {
		if len(text(args, i)) > 1<<16 {
			return math.MaxInt64
		}
		size += 256 * treeSize(a, most)
	}
	return size
}
