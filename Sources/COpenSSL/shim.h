// shim.h - what of OpenSSL is macros or variadic, as inline functions that Swift can call.

#ifndef POSTHOUSE_COPENSSL_SHIM_H
#define POSTHOUSE_COPENSSL_SHIM_H

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

static inline int posthouse_ssl_ctx_set_min_version(SSL_CTX *ctx, int version) {
    return (int)SSL_CTX_set_min_proto_version(ctx, version);
}

static inline int posthouse_ssl_ctx_set_max_version(SSL_CTX *ctx, int version) {
    return (int)SSL_CTX_set_max_proto_version(ctx, version);
}

// No renegotiation, no compression, cipher order of the server, tickets left on.
static inline void posthouse_ssl_ctx_set_safe_options(SSL_CTX *ctx) {
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION
        | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
        | SSL_MODE_RELEASE_BUFFERS);
}

static inline void posthouse_ssl_ctx_set_cache_off(SSL_CTX *ctx) {
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
}

static inline void posthouse_ssl_ctx_set_dh_auto(SSL_CTX *ctx) {
    SSL_CTX_set_dh_auto(ctx, 1);
}

static inline void posthouse_ssl_ctx_set_name_callback(
    SSL_CTX *ctx, int (*callback)(SSL *, int *, void *), void *argument
) {
    SSL_CTX_set_tlsext_servername_callback(ctx, callback);
    SSL_CTX_set_tlsext_servername_arg(ctx, argument);
}

static inline int posthouse_ssl_set_server_name(SSL *ssl, const char *name) {
    return (int)SSL_set_tlsext_host_name(ssl, name);
}

static inline void posthouse_bio_clear_retry(BIO *bio) {
    BIO_clear_retry_flags(bio);
}

static inline void posthouse_bio_set_retry_read(BIO *bio) {
    BIO_set_retry_read(bio);
}

static inline long posthouse_bio_memory(BIO *bio, char **start) {
    return BIO_get_mem_data(bio, start);
}

static inline EVP_PKEY *posthouse_make_p256_key(void) {
    return EVP_EC_gen("P-256");
}

static inline int posthouse_general_name_count(const GENERAL_NAMES *names) {
    return sk_GENERAL_NAME_num(names);
}

static inline GENERAL_NAME *posthouse_general_name(const GENERAL_NAMES *names, int index) {
    return sk_GENERAL_NAME_value(names, index);
}

static inline void posthouse_general_names_free(GENERAL_NAMES *names) {
    sk_GENERAL_NAME_pop_free(names, GENERAL_NAME_free);
}

#endif
