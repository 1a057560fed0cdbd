/**
 * OPENSSL_ia32cap without AES-NI (bit 57) and PCLMULQDQ (33) in the first word, VAES (41) and VPCLMULQDQ (42) in the second:
 * without the second mask OpenSSL's AVX-512 code would use the very instructions that the first takes away (OPENSSL_ia32cap(3)).
 */
export const withoutAesInstructions = { OPENSSL_ia32cap: "~0x200000200000000:~0x60000000000" } as const;
