// Buffers of tensors that are kept for the next ones.

#include <vector>

#include <ATen/ATen.h>

#include "model/buffer_pool.h"
#include "tests/catch.h"

using namespace lancet;

namespace {

constexpr std::int64_t kFloats = 1 << 20;  // four megabytes

at::Tensor tensor(std::int64_t floats) { return at::full({floats}, 2.0F); }

}  // namespace

TEST_CASE("buffers: one that was freed is the next of its size, and goes back behind the scope") {
  install_buffer_pool();
  REQUIRE(buffer_pool_state().idle == 0);
  {
    const BuffersKept kept;
    at::Tensor first = tensor(kFloats);
    const void* const at = first.const_data_ptr();
    CHECK(buffer_pool_state().used >= 4 * kFloats);
    first.reset();
    CHECK(buffer_pool_state().used == 0);
    CHECK(buffer_pool_state().idle >= 4 * kFloats);
    const at::Tensor second = tensor(kFloats - 3);  // of about its size
    CHECK(second.const_data_ptr() == at);
    CHECK(second.sum().item<double>() == 2.0 * (kFloats - 3));
    const at::Tensor third = tensor(kFloats);
    CHECK(third.const_data_ptr() != at);
    const at::Tensor small = tensor(1000);  // is the heap's
    CHECK(buffer_pool_state().idle == 0);
  }
  CHECK(buffer_pool_state().idle == 0);
  CHECK(buffer_pool_state().used == 0);
}

TEST_CASE("buffers: a tensor may outlive the scope, and scopes stand in one another") {
  install_buffer_pool();
  at::Tensor lasting;
  {
    const BuffersKept outer;
    {
      const BuffersKept inner;
      lasting = tensor(kFloats);
      tensor(2 * kFloats);
    }
    CHECK(buffer_pool_state().idle > 0);
  }
  CHECK(buffer_pool_state().idle == 0);
  CHECK(buffer_pool_state().used > 0);
  CHECK(lasting.sum().item<double>() == 2.0 * kFloats);
  lasting.reset();
  CHECK(buffer_pool_state().used == 0);
}

TEST_CASE("buffers: of many sizes hardly more are kept than were in use at a time") {
  install_buffer_pool();
  constexpr std::uint64_t kSlack = 16 << 20;
  const BuffersKept kept;
  for (std::int64_t size = kFloats; size < 24 * kFloats; size += kFloats / 2) {
    std::vector<at::Tensor> two{at::empty({size}), at::empty({size / 2})};
    two.clear();
    const BufferPoolState state = buffer_pool_state();
    REQUIRE(state.used == 0);
    REQUIRE(state.idle <= state.most_used + kSlack);
  }
  CHECK(buffer_pool_state().idle > 0);
}
