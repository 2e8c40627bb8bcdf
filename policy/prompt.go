package policy

// prompt are the built-ins of OPA, by name, that take no longer than going through
// their operands a few times, and that make nothing larger than what the guards
// allow. They are called where the evaluation is; all others, which cannot be
// interrupted either, from a goroutine that an evaluation past its time is left on.
var prompt = promptTable(
	"abs", "ceil", "floor", "round", "format_int", "to_number", "plus", "minus", "mul", "div", "rem", "sum", "product",
	"bits.and", "bits.or", "bits.xor", "bits.negate", "bits.lsh", "bits.rsh",
	"sprintf", "indexof", "replace", "strings.reverse", "strings.replace_n", "strings.count",
	"strings.any_prefix_match", "strings.any_suffix_match", "internal.template_string",
	"array.slice", "array.reverse", "sort", "union", "intersection", "minus", "any", "all",
	"object.remove", "object.filter", "object.union", "object.subset", "object.union_n",
	"base64.encode", "base64.decode", "base64.is_valid", "base64url.encode", "base64url.encode_no_pad", "base64url.decode",
	"hex.encode", "hex.decode", "urlquery.encode", "urlquery.decode", "json.marshal",
	"crypto.md5", "crypto.sha1", "crypto.sha256", "crypto.hmac.equal", "crypto.hmac.md5", "crypto.hmac.sha1", "crypto.hmac.sha256", "crypto.hmac.sha512",
	"net.cidr_contains", "net.cidr_intersects", "net.cidr_is_valid",
	"time.parse_rfc3339_ns", "time.parse_duration_ns", "time.clock", "time.date", "time.weekday", "time.add_date", "time.diff", "time.format",
	"semver.compare", "semver.is_valid", "uuid.parse", "units.parse", "units.parse_bytes", "numbers.range", "cast_array", "cast_set", "cast_string", "cast_boolean", "cast_null", "cast_object",
)

func promptTable(names ...string) map[string]bool {
	table := make(map[string]bool, len(names))
	for _, name := range names {
		table[name] = true
	}
	return table
}
