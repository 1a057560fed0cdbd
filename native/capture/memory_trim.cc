#include "memory_trim.h"

#include <fcntl.h>
#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/fd.h"

namespace warren::capture {

namespace {

// Documentation/admin-guide/mm/pagemap.rst: one 64 bit entry for each page of the address space.
constexpr uint64_t kPresent = uint64_t{1} << 63;
constexpr uint64_t kSwapped = uint64_t{1} << 62;
constexpr uint64_t kOfFile = uint64_t{1} << 61;

struct Pages {
  uintptr_t first;
  size_t count;
};

// The program's segments that are never written to, in whole pages.
std::vector<Pages> constant_segments(size_t page_size) {
  struct Search {
    size_t page_size;
    std::vector<Pages> found;
  } search{page_size, {}};
  ::dl_iterate_phdr(
      [](dl_phdr_info* object, size_t, void* data) {
        auto& [page, found] = *static_cast<Search*>(data);
        for (size_t at = 0; at < object->dlpi_phnum; ++at) {
          const ElfW(Phdr)& header = object->dlpi_phdr[at];
          if (header.p_type != PT_LOAD || (header.p_flags & PF_W) != 0) continue;
          const uintptr_t start = object->dlpi_addr + header.p_vaddr;
          const uintptr_t first = (start + page - 1) / page;
          const uintptr_t end = (start + header.p_memsz) / page;
          if (end > first) found.push_back({first, end - first});
        }
        // The program comes first (dl_iterate_phdr(3)); libraries may come and go meanwhile, and are left alone.
        return 1;
      },
      &search);
  return search.found;
}

// A breakpoint or a probe gives the process a copy of its own of a page: that one exists nowhere else.
bool own_copy(uint64_t entry) {
  return (entry & kSwapped) != 0 || ((entry & kPresent) != 0 && (entry & kOfFile) == 0);
}

void unmap(Pages pages, size_t page_size) {
  // The address is the program's own, out of its headers. Where the kernel refuses, the pages stay.
  void* start = reinterpret_cast<void*>(pages.first * page_size);  // NOLINT(performance-no-int-to-ptr)
  if (pages.count > 0) ::madvise(start, pages.count * page_size, MADV_DONTNEED);
}

}  // namespace

void return_freed_memory() {
#ifdef __GLIBC__
  ::malloc_trim(0);
#endif
}

void unmap_program_pages() {
  const auto page_size = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const Fd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  if (!pagemap.valid()) return;
  std::array<uint64_t, 512> entries{};
  for (const Pages& segment : constant_segments(page_size)) {
    for (size_t done = 0; done < segment.count;) {
      const size_t wanted = std::min(entries.size(), segment.count - done);
      const auto offset = static_cast<off_t>((segment.first + done) * sizeof entries[0]);
      const ssize_t bytes = ::pread(pagemap.get(), entries.data(), wanted * sizeof entries[0], offset);
      if (bytes < static_cast<ssize_t>(sizeof entries[0])) return;
      const size_t read = static_cast<size_t>(bytes) / sizeof entries[0];
      size_t from = 0;
      for (size_t at = 0; at <= read; ++at) {
        if (at < read && !own_copy(entries[at])) continue;
        unmap({segment.first + done + from, at - from}, page_size);
        from = at + 1;
      }
      done += read;
    }
  }
}

}  // namespace warren::capture
