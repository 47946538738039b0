package config

import (
	_ "embed"
	"slices"
)

//go:embed example.toml
var example []byte

// Example is a complete configuration with a comment on every key.
func Example() []byte { return slices.Clone(example) }
