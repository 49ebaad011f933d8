//go:build race

package treering

// The race detector keeps memory of its own for every thread there was.
const detectsRaces = true
