package ffi

import "testing"

func TestAnotherABIIsAnErrorOfEveryCall(t *testing.T) {
	abiError = checkABI(9999)
	defer func() { abiError = nil }()
	if _, err := OpenStore(t.TempDir(), StoreOptions{}); err == nil || err != abiError {
		t.Fatal(err)
	}
	if _, err := Info(nil); err != abiError {
		t.Fatal(err)
	}
}
