/* Uses memory that was freed. Under AddressSanitizer this must not go unnoticed: run.sh checks that it does not. */
#include <stdlib.h>

int main(void) {
  volatile char *memory = malloc(16);
  if (memory == NULL) return 2;
  free((void *)memory);
  return memory[3] & 0;
}
