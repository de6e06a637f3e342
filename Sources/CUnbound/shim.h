// shim.h - libunbound as it is; nothing of it is a macro that we need.

#ifndef POSTHOUSE_CUNBOUND_SHIM_H
#define POSTHOUSE_CUNBOUND_SHIM_H

#include <unbound.h>

#endif
