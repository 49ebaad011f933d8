//go:build !race

package treering

const detectsRaces = false
