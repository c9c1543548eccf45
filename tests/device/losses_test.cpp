// Losses and their gradients on the way of a GPU: the CPU's.

#include <torch/csrc/autograd/autograd.h>

#include "distill/losses/loss.h"
#include "distill/losses/ops/head_rows.h"
#include "formats/model_source.h"
#include "tests/catch.h"
#include "tests/device/rehearsal.h"
#include "tests/losses/plain.h"
#include "tests/model/tiny.h"
#include "tests/tolerances.h"

using namespace lancet;
using namespace lancet::test;

namespace {

struct Outcome {
  double value = 0;
  at::Tensor gradient;
};

Outcome outcome(const Decoder& model, Case given, const LossOptions& options) {
  const at::Device device = model.options().device();
  const at::Tensor hidden = given.hidden.detach().to(device).requires_grad_(true);
  if (given.targets.teacher_hidden.defined())
    given.targets.teacher_hidden = given.targets.teacher_hidden.to(device);
  if (given.targets.teacher != nullptr) given.targets.teacher = &model;
  const LossResult result = head_loss(model, hidden, given.targets, options);
  return {result.sum.item<double>(), torch::autograd::grad({result.sum}, {hidden})[0].cpu()};
}

}  // namespace

TEST_CASE("device: every loss and its gradient are the CPU's there") {
  const Decoder here = load_tiny("plain");
  const Decoder there = Decoder::load(ModelSource::open(folder_of("plain")),
                                      {.dtype = at::kFloat, .device = rehearsal_device()});
  for (const Loss* loss : loss_registry()) {
    for (const auto& given : settings_of(*loss)) {
      const LossOptions options = loss_options(loss->name, given);
      const Case one = make_case(*loss, here, 11);
      const std::string error = error_of([&] {
        const Outcome wanted = outcome(here, one, options), found = outcome(there, one, options);
        CHECK(std::abs(found.value - wanted.value) <
              tolerance::kLossValue * std::max(1.0, std::abs(wanted.value)));
        CHECK(relative(found.gradient, wanted.gradient) < tolerance::kLossGradient);
      });
      INFO(options.json().dump() << ": " << error.substr(0, error.find("\nException raised")));
      CHECK(error.empty());
    }
  }
}
