#ifndef POSTHOUSE_CLZ4_SHIM_H
#define POSTHOUSE_CLZ4_SHIM_H

#include <lz4.h>

#endif
