// The fused kernels on a device against their twins on the CPU, and a tiny model there and here.
// Without a device they are skipped, and say so; that liblancet_cuda has all of them is checked
// wherever it was built.

#include <dlfcn.h>

#include <torch/csrc/autograd/autograd.h>

#include "core/file.h"
#include "formats/model_source.h"
#include "model/cuda/launch.h"
#include "model/lora.h"
#include "tests/catch.h"
#include "tests/model/fused_cases.h"
#include "tests/model/tiny.h"
#include "tests/tolerances.h"

using namespace lancet;
using namespace lancet::test;

namespace {

/// liblancet_cuda in this process; null where it was not built.
void* cuda_unit() {
  static void* const unit = [] {
    const std::string path = std::string(LANCET_BINARY_DIR) + "/liblancet_cuda.so";
    return fs::exists(path) ? dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL) : nullptr;
  }();
  return unit;
}

int device_count() {
  if (cuda_unit() == nullptr) return 0;
  const auto count = reinterpret_cast<int (*)()>(dlsym(cuda_unit(), "lancet_cuda_device_count"));
  return count == nullptr ? 0 : count();
}

/// Before anything asks LibTorch, which remembers the answer, whether there is CUDA.
const bool on_gpu = device_count() > 0 &&
                    dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) != nullptr&& at::hasCUDA();

void check_bits(const std::vector<FusedCase>& cases) {
  for (const FusedCase& each : cases) {
    INFO(each.name);
    const auto there = outcome(each.fused, each.inputs, {at::kCUDA, 0});
    const fused::TwinsOnCpu twins;
    const auto here = outcome(each.fused, each.inputs, at::kCPU);
    for (std::size_t i = 0; i < here.size(); ++i) CHECK(same_bits(there[i], here[i]));
  }
}

Decoder load_there(const std::string& name) {
  return Decoder::load(ModelSource::open(folder_of(name)), {at::kFloat, {at::kCUDA, 0}});
}

}  // namespace

TEST_CASE("gpu: liblancet_cuda has every kernel that the engine looks for") {
  if (cuda_unit() == nullptr) LANCET_SKIP("no CUDA unit was built");
  CHECK(fused::kernels_of({at::kCUDA, 0}) != nullptr);
  CHECK(error_of([] { fused::check_launch(2, "rotate"); }).find("out of memory") !=
        std::string::npos);
}

TEST_CASE("gpu: without a device a launch is an error, not a crash") {
  if (cuda_unit() == nullptr) LANCET_SKIP("no CUDA unit was built");
  if (on_gpu) LANCET_SKIP("there is a GPU");
  const fused::Kernels* kernels = fused::kernels_of({at::kCUDA, 0});
  REQUIRE(kernels != nullptr);
  const fused::Swiglu job{.rows = 1, .d = 8};
  CHECK(kernels->swiglu(&job, nullptr) != 0);
  const fused::Swiglu nothing{.rows = 0, .d = 8};
  CHECK(kernels->swiglu(&nothing, nullptr) == 0);
}

TEST_CASE("gpu: norm, rotation and SwiGLU have the bits of their twins", "[gpu]") {
  if (!on_gpu) LANCET_SKIP("no GPU");
  check_bits(norm_cases());
  check_bits(rotate_cases());
  check_bits(swiglu_cases());
}

TEST_CASE("gpu: cross-entropy has its twin's gradients, and its losses but for a logarithm",
          "[gpu]") {
  if (!on_gpu) LANCET_SKIP("no GPU");
  for (const CrossEntropyCase& each : cross_entropy_cases()) {
    INFO(each.name);
    const CrossEntropyOutcome there = outcome(each, at::Device(at::kCUDA, 0));
    const fused::TwinsOnCpu twins;
    const CrossEntropyOutcome here = outcome(each, at::kCPU);
    CHECK(same_bits(there.gradient, here.gradient));
    CHECK(max_abs(there.losses, here.losses) < 1e-12);
  }
}

TEST_CASE("gpu: logits of every tiny model are those of the CPU", "[gpu]") {
  if (!on_gpu) LANCET_SKIP("no GPU");
  for (const std::string& name : tiny_names()) {
    INFO(name);
    const at::Tensor ids = random_ids(2, 11);
    CHECK(max_abs(load_there(name).forward(ids).to(at::kCPU), load_tiny(name).forward(ids)) <
          tolerance::kTinyLogits);
  }
}

TEST_CASE("gpu: gradients of low-rank parts are those of the CPU", "[gpu]") {
  if (!on_gpu) LANCET_SKIP("no GPU");
  const Decoder here = load_tiny("plain"), there = load_there("plain");
  LoraSettings settings;
  settings.targets = {"all-linear"};
  settings.rank = 3;
  const LoraAdapter adapter(here.spec(), settings, 1);
  for (const auto& part : adapter.parts()) {
    const at::NoGradGuard no_grad;
    part->b.copy_(at::randn_like(part->b) * 0.1);
  }
  const at::Tensor ids = random_ids(2, 9);
  const auto gradients = [&](const Decoder& base) {
    const Decoder model = base.with_low_rank(adapter.by_module());
    return torch::autograd::grad({at::log_softmax(model.forward(ids), -1).square().sum()},
                                 adapter.parameters());
  };
  const auto own = gradients(here), other = gradients(there);
  for (std::size_t i = 0; i < own.size(); ++i)
    CHECK(relative(other[i], own[i]) < tolerance::kPassGradient);
}
