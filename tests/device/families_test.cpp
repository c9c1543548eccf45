// The way of a GPU, rehearsed on a device whose memory the host cannot see.

#include "formats/model_source.h"
#include "model/generate.h"
#include "tests/catch.h"
#include "tests/device/rehearsal.h"
#include "tests/model/tiny.h"
#include "tests/tolerances.h"

using namespace lancet;
using namespace lancet::test;

namespace {

Decoder load_there(const std::string& name, at::ScalarType dtype = at::kFloat) {
  return Decoder::load(ModelSource::open(folder_of(name)),
                       {.dtype = dtype, .device = rehearsal_device()});
}

}  // namespace

TEST_CASE("device: host code cannot read the rehearsal's memory, operators of two devices fail") {
  const at::Tensor here = at::randn({3, 4});
  const at::Tensor there = here.to(rehearsal_device(0));
  CHECK(there.device() == rehearsal_device(0));
  CHECK(same_bits((there * 2).cpu(), here * 2));
  CHECK(same_bits(there.t().contiguous().cpu(), here.t().contiguous()));
  CHECK_THROWS(there + here);
  CHECK_THROWS(there + here.to(rehearsal_device(1)));
  CHECK(rehearsal_bytes(0) >= 48);
  CHECK(rehearsal_bytes(1) == 0);
}

TEST_CASE("device: every family has the CPU's logits there") {
  for (const std::string& name : family_names()) {
    const at::Tensor ids = random_ids(2, 20);
    const std::string error = error_of([&] {
      const at::Tensor logits = load_there(name).forward(ids);
      CHECK(logits.device() == rehearsal_device());
      CHECK(relative(logits.cpu(), load_tiny(name).forward(ids)) < tolerance::kSameModel);
    });
    INFO(name << ": " << error.substr(0, error.find("\nException raised")));
    CHECK(error.empty());
  }
}
