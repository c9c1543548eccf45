#include "model/buffer_pool.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <mutex>
#include <unordered_map>
#include <vector>

#include <sys/mman.h>

#include <c10/core/CPUAllocator.h>

namespace lancet {
namespace {

constexpr std::size_t kLarge = 1 << 18;     ///< smaller ones are the heap's
constexpr std::uint64_t kSlack = 16 << 20;  ///< idle beside what was once in use

/// One of eight sizes between a power of two and the next. Pages behind what was asked for are not
/// touched, and cost nothing.
std::size_t class_of(std::size_t bytes) {
  const std::size_t step = std::bit_floor(bytes) / 8;
  return (bytes + step - 1) / step * step;
}

struct Buffer {
  void* at;
  std::size_t bytes;
};

class Pool {
 public:
  /// Null where no scope is open, or the system has no memory to give.
  void* take(std::size_t asked) {
    const std::lock_guard lock(mutex_);
    if (scopes_ == 0) return nullptr;
    const std::size_t bytes = class_of(asked);
    auto found = last_idle(bytes, bytes);
    const bool room = state_.used + state_.idle + bytes <= state_.most_used;
    if (found == idle_.rend() && !room) found = last_idle(bytes, bytes + bytes / 4);
    Buffer buffer{nullptr, bytes};
    if (found != idle_.rend()) {
      buffer = *found;
      idle_.erase(std::next(found).base());
      state_.idle -= buffer.bytes;
    } else {
      make_room(bytes);
      buffer.at = map(bytes);
      if (buffer.at == nullptr) {  // the system may have it once it has those back
        release(idle_.size());
        buffer.at = map(bytes);
      }
      if (buffer.at == nullptr) return nullptr;
    }
    used_.emplace(buffer.at, buffer.bytes);
    state_.used += buffer.bytes;
    state_.most_used = std::max(state_.most_used, state_.used);
    return buffer.at;
  }

  /// False for one that is not the pool's.
  bool give_back(void* at) {
    const std::lock_guard lock(mutex_);
    const auto found = used_.find(at);
    if (found == used_.end()) return false;
    const Buffer buffer{at, found->second};
    used_.erase(found);
    state_.used -= buffer.bytes;
    if (scopes_ == 0) {
      ::munmap(buffer.at, buffer.bytes);
    } else {
      idle_.push_back(buffer);
      state_.idle += buffer.bytes;
    }
    return true;
  }

  void open() {
    const std::lock_guard lock(mutex_);
    if (scopes_++ == 0) state_.most_used = state_.used;
  }

  void close() {
    const std::lock_guard lock(mutex_);
    if (--scopes_ == 0) release(idle_.size());
  }

  BufferPoolState state() {
    const std::lock_guard lock(mutex_);
    return state_;
  }

 private:
  using Found = std::vector<Buffer>::reverse_iterator;

  /// The one freed last, which is nearest to the processor.
  Found last_idle(std::size_t least, std::size_t most) {
    return std::find_if(idle_.rbegin(), idle_.rend(), [=](const Buffer& each) {
      return each.bytes >= least && each.bytes <= most;
    });
  }

  static void* map(std::size_t bytes) {
    void* const at =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return nullptr;
    ::madvise(at, bytes, MADV_HUGEPAGE);  // neighbours become one mapping
    return at;
  }

  /// So that with `bytes` more there are hardly more than were once in use.
  void make_room(std::size_t bytes) {
    const std::uint64_t most = std::max(state_.most_used, state_.used + bytes) + kSlack;
    std::size_t count = 0;
    for (std::uint64_t idle = state_.idle; count < idle_.size(); ++count) {
      if (state_.used + bytes + idle <= most) break;
      idle -= idle_[count].bytes;
    }
    release(count);
  }

  /// The `count` that have been idle longest.
  void release(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      ::munmap(idle_[i].at, idle_[i].bytes);
      state_.idle -= idle_[i].bytes;
    }
    idle_.erase(idle_.begin(), idle_.begin() + static_cast<std::ptrdiff_t>(count));
  }

  std::mutex mutex_;
  int scopes_ = 0;
  std::vector<Buffer> idle_;  ///< in the order in which they were freed
  std::unordered_map<void*, std::size_t> used_;
  BufferPoolState state_;
};

Pool& pool() {
  static Pool& all = *new Pool;  // tensors may be freed behind main
  return all;
}

void free_buffer(void* at);

class Allocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t bytes) override {
    void* const at = bytes < kLarge ? nullptr : pool().take(bytes);
    if (at == nullptr) return others().allocate(bytes);
    return {at, at, &free_buffer, c10::Device(c10::DeviceType::CPU)};
  }
  [[nodiscard]] c10::DeleterFnPtr raw_deleter() const override { return &free_buffer; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }
  static c10::Allocator& others() { return *c10::GetDefaultCPUAllocator(); }
};

void free_buffer(void* at) {
  if (!pool().give_back(at)) Allocator::others().raw_deleter()(at);
}

}  // namespace

void install_buffer_pool() {
  static Allocator& allocator = *new Allocator;
  if (c10::GetCPUAllocator() != &allocator) c10::SetCPUAllocator(&allocator);
}

BuffersKept::BuffersKept() { pool().open(); }
BuffersKept::~BuffersKept() { pool().close(); }

BufferPoolState buffer_pool_state() { return pool().state(); }

}  // namespace lancet
