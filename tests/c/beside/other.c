/* Stands for the zstd and libdeflate that a program has from elsewhere. The library must never get to these. */
#include <stdlib.h>

unsigned ZSTD_versionNumber(void);
unsigned ZSTD_versionNumber(void) { return 42; }

#define NOT_FOR_US(name)                                                                                               \
  void *name(void);                                                                                                    \
  void *name(void) { abort(); }

NOT_FOR_US(ZSTD_createCCtx)
NOT_FOR_US(ZSTD_createCCtx_advanced)
NOT_FOR_US(ZSTD_freeCCtx)
NOT_FOR_US(ZSTD_compress2)
NOT_FOR_US(ZSTD_compressStream2)
NOT_FOR_US(ZSTD_CCtx_setParameter)
NOT_FOR_US(ZSTD_CCtx_reset)
NOT_FOR_US(ZSTD_createDCtx)
NOT_FOR_US(libdeflate_alloc_compressor)
NOT_FOR_US(libdeflate_deflate_compress)
NOT_FOR_US(libdeflate_free_compressor)
