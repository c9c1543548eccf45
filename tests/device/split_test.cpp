// Blocks over two devices: the same model, whatever goes through it.

#include <torch/csrc/autograd/autograd.h>

#include "core/error.h"
#include "formats/model_source.h"
#include "model/generate.h"
#include "model/lora.h"
#include "model/lora_targets.h"
#include "model/placement.h"
#include "model/session.h"
#include "tests/catch.h"
#include "tests/device/rehearsal.h"
#include "tests/model/tiny.h"
#include "tests/tolerances.h"

using namespace lancet;
using namespace lancet::test;

namespace {

/// The first block on the first device, the others on the second.
Decoder load_split(const std::string& name) {
  const ModelSource source = ModelSource::open(folder_of(name));
  LoadOptions options{.dtype = at::kFloat, .device = rehearsal_device(0)};
  // Room for all but one number.
  std::uint64_t bytes = 0;
  for (const TensorInfo& tensor : source.tensors()) bytes += tensor.elements() * 4 + 64;
  options.rooms = {{rehearsal_device(0), bytes * 3 / 4}, {rehearsal_device(1), bytes}};
  return Decoder::load(source, options);
}

}  // namespace

TEST_CASE("placement: one device where all fits, else the fewest, as empty as can be") {
  const at::Device a = rehearsal_device(0), b = rehearsal_device(1), c(at::kCPU);
  const std::vector<std::uint64_t> blocks(8, 100);
  using Places = std::vector<at::Device>;
  CHECK(place_blocks(blocks, 50, std::vector<Room>{{a, 900}, {b, 900}}) == Places(8, a));
  CHECK(place_blocks(blocks, 200, std::vector<Room>{{a, 900}, {b, 900}}) ==
        Places{a, a, a, b, b, b, b, b});
  CHECK(place_blocks(blocks, 0, std::vector<Room>{{a, 300}, {b, 1200}, {c, 5000}}) ==
        Places{a, b, b, b, b, b, b, b});
  CHECK(place_blocks(blocks, 0, std::vector<Room>{{a, 310}, {b, 310}, {c, 310}}) ==
        Places{a, a, a, b, b, b, c, c});
  // Blocks are not cut, and the ends have their place.
  CHECK_THROWS_AS(place_blocks(blocks, 0, std::vector<Room>{{a, 399}, {b, 499}}), Error);
  CHECK_THROWS_AS(place_blocks(blocks, 1000, std::vector<Room>{{a, 999}, {b, 9999}}), Error);
  const std::string error = error_of([&] {
    static_cast<void>(place_blocks(blocks, 0, std::vector<Room>{{a, 350}}));
  });
  CHECK(error.find("800 B") != std::string::npos);
  CHECK(error.find("350 B") != std::string::npos);
}

TEST_CASE("split: every family has the logits of one device, whole and through a cache") {
  for (const std::string& name : family_names()) {
    const at::Tensor ids = random_ids(2, 20);
    const std::string error = error_of([&] {
      const std::size_t before = rehearsal_bytes(1);
      const Decoder there = load_split(name);
      CHECK(rehearsal_bytes(1) > before);
      const Decoder here = load_tiny(name);
      const at::Tensor wanted = here.forward(ids);
      CHECK(relative(there.forward(ids).cpu(), wanted) < tolerance::kSameModel);
      KvCache cache(there.spec(), 2, 8, there.options());
      std::vector<at::Tensor> parts;
      for (const auto& [first, last] : {std::pair{0, 9}, {9, 10}, {10, 20}}) {
        const at::Tensor some = ids.slice(1, first, last).contiguous();
        parts.push_back(there.forward(some, {.cache = &cache, .append = true}));
        cache.advance({last - first, last - first});
      }
      CHECK(relative(at::cat(parts, 1).cpu(), wanted) < tolerance::kSameModel);
    });
    INFO(name << ": " << error.substr(0, error.find("\nException raised")));
    CHECK(error.empty());
  }
}

TEST_CASE("split: texts that are generated together are those of the CPU") {
  const Decoder here = load_tiny("plain"), there = load_split("plain");
  const std::vector<std::vector<std::int32_t>> prompts{{1, 2, 3}, {4, 5, 6, 7, 8}, {9}};
  Session mine(there, prompts, 8, 3), theirs(here, prompts, 8, 3);
  for (int step = 0; step < 6; ++step) {
    CHECK(relative(mine.logits(), theirs.logits()) < tolerance::kSameModel);
    const at::Tensor best = theirs.logits().argmax(1).to(at::kInt).contiguous();
    const auto* id = best.const_data_ptr<std::int32_t>();
    mine.feed({id, id + 3});
    theirs.feed({id, id + 3});
  }
}

TEST_CASE("split: hooks see and give values of the first device") {
  const Decoder here = load_tiny("plain"), there = load_split("plain");
  const at::Tensor ids = random_ids(1, 8);
  const at::Tensor shift = at::ones({here.spec().d_model});
  const auto run = [&](const Decoder& model) {
    const at::Tensor own = shift.to(model.options().device());
    const Hook hook = [&](std::int64_t layer, Place place, const at::Tensor& value) {
      return layer == here.spec().layers - 1 && place == Place::kMlpOutput ? value + own : value;
    };
    return model.forward(ids, {.hook = hook}).cpu();
  };
  CHECK(relative(run(there), run(here)) < tolerance::kSameModel);
  CHECK(relative(run(there), here.forward(ids)) > 1e-3);
}

TEST_CASE("split: low-rank parts learn across devices") {
  const at::Tensor ids = random_ids(2, 12);
  const auto gradients = [&](const Decoder& base) {
    LoraSettings settings;
    settings.rank = 4;
    const LoraAdapter adapter(base.spec(), settings, 3);
    std::vector<at::Tensor> factors;
    for (const auto& part : adapter.parts()) {
      const c10::AutoGradMode off(false);
      at::manual_seed(factors.size());
      part->b.copy_(at::randn(part->b.sizes()) * 0.1);
      factors.push_back(part->a);
      factors.push_back(part->b);
    }
    const Decoder model = base.with_low_rank(adapter.by_module());
    const at::Tensor loss = model.forward(ids).cpu().logsumexp(-1).sum();
    return torch::autograd::grad({loss}, factors);
  };
  const auto mine = gradients(load_split("plain")), theirs = gradients(load_tiny("plain"));
  REQUIRE(mine.size() == theirs.size());
  for (std::size_t i = 0; i < mine.size(); ++i) {
    INFO("factor " << i);
    CHECK(relative(mine[i], theirs[i]) < 4 * tolerance::kSameModel);
  }
}
