#include "tests/attacks/allocation_meter.h"

#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<std::int64_t> held = 0;
std::atomic<std::int64_t> start = 0;
std::atomic<std::int64_t> peak_held = 0;
std::atomic<std::uint64_t> largest = 0;

void raise(auto& maximum, auto value) {
  auto seen = maximum.load();
  while (seen < value && !maximum.compare_exchange_weak(seen, value)) {
  }
}

void* try_allocate(std::size_t size) noexcept {
  raise(largest, std::uint64_t{size});
  void* memory = std::malloc(std::max<std::size_t>(size, 1));
  if (memory == nullptr) return nullptr;
  const auto usable = static_cast<std::int64_t>(malloc_usable_size(memory));
  raise(peak_held, held.fetch_add(usable) + usable);
  return memory;
}

void* allocate(std::size_t size) {
  void* memory = try_allocate(size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void release(void* memory) noexcept {
  if (memory == nullptr) return;
  held.fetch_sub(static_cast<std::int64_t>(malloc_usable_size(memory)));
  std::free(memory);
}

}  // namespace

void* operator new(std::size_t size) { return allocate(size); }
void* operator new[](std::size_t size) { return allocate(size); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return try_allocate(size); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return try_allocate(size);
}
void operator delete(void* memory) noexcept { release(memory); }
void operator delete[](void* memory) noexcept { release(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { release(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { release(memory); }
void operator delete(void* memory, std::size_t) noexcept { release(memory); }
void operator delete[](void* memory, std::size_t) noexcept { release(memory); }

namespace lancet {

AllocationMeter::AllocationMeter() noexcept {
  start = held.load();
  peak_held = held.load();
  largest = 0;
}

std::uint64_t AllocationMeter::peak() const noexcept {
  const std::int64_t most = std::max<std::int64_t>(peak_held - start, 0);
  return std::max(static_cast<std::uint64_t>(most), largest.load());
}

}  // namespace lancet
