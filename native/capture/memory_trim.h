// Gives back to the kernel what a process needed to start and will hardly need again.
#pragma once

namespace warren::capture {

// Freed memory that the allocator keeps in its arenas. Takes the allocator's locks for some milliseconds.
void return_freed_memory();

// Pages of the program's own file that are mapped here as they are in the file: its code and constants. The kernel
// keeps them in its page cache, from where a page comes back, with its neighbours, by a minor fault when it is next
// used. Nothing is read from the disk for it, and nothing that this process wrote is lost.
void unmap_program_pages();

}  // namespace warren::capture
