// Lets Debian's user-mode Linux run on processors with AMX; bench/guest.sh preloads it there.
//
// The kernel of Debian 12 (6.1) keeps a guest process's vector registers in a fixed image of 2696 bytes and
// moves it with ptrace(PTRACE_{GET,SET}REGSET, NT_X86_XSTATE). With AMX the host's own image has 11008 bytes,
// and the host answers a shorter one with EFAULT: the guest panics at its first process. So every image that
// goes to the host is filled up here. What is added is zero, and zero means "in its initial state", since the
// image's own header says which parts are present: nothing in the guest ever uses AMX.
//
// Invariant: calls other than these two pass through untouched.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>

#define REGSET_GET 0x4204
#define REGSET_SET 0x4205
#define NT_X86_XSTATE 0x202

typedef long call(int, pid_t, void *, void *);

static char image[64 * 1024] __attribute__((aligned(64)));
static size_t image_bytes; // what the host's kernel deals in; 0 before it has told

static long get(call *real, pid_t pid, void *kind, struct iovec *wanted) {
  struct iovec whole = {image, sizeof image};
  long result = real(REGSET_GET, pid, kind, &whole);
  if (result < 0) return result;
  image_bytes = whole.iov_len;
  if (wanted->iov_len > whole.iov_len) wanted->iov_len = whole.iov_len;
  memcpy(wanted->iov_base, image, wanted->iov_len);
  return result;
}

static long set(call *real, pid_t pid, void *kind, struct iovec *given) {
  if (given->iov_len >= image_bytes) return real(REGSET_SET, pid, kind, given);
  memcpy(image, given->iov_base, given->iov_len);
  memset(image + given->iov_len, 0, image_bytes - given->iov_len);
  struct iovec whole = {image, image_bytes};
  return real(REGSET_SET, pid, kind, &whole);
}

long ptrace(int request, ...) {
  static call *real;
  if (!real) real = (call *)dlsym(RTLD_NEXT, "ptrace");
  va_list rest;
  va_start(rest, request);
  pid_t pid = va_arg(rest, pid_t);
  void *address = va_arg(rest, void *);
  void *data = va_arg(rest, void *);
  va_end(rest);
  if ((uintptr_t)address == NT_X86_XSTATE && request == REGSET_GET) return get(real, pid, address, data);
  if ((uintptr_t)address == NT_X86_XSTATE && request == REGSET_SET) return set(real, pid, address, data);
  return real(request, pid, address, data);
}
