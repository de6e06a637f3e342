#ifndef POSTHOUSE_CSQLITE_SHIM_H
#define POSTHOUSE_CSQLITE_SHIM_H

#include <sqlite3.h>

/* SQLITE_TRANSIENT and SQLITE_STATIC are casts that Swift does not import. */
static inline sqlite3_destructor_type posthouse_sqlite_static(void) { return SQLITE_STATIC; }
static inline sqlite3_destructor_type posthouse_sqlite_transient(void) { return SQLITE_TRANSIENT; }

#endif
