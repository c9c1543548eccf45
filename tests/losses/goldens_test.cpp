// Values and gradients against PyTorch's in float64 (tests/oracle/make_loss_goldens.py).
#include <cmath>
#include <cstring>

#include <torch/csrc/autograd/autograd.h>

#include "core/json.h"
#include "distill/losses/loss.h"
#include "formats/checkpoint.h"
#include "tests/catch.h"
#include "tests/model/tiny.h"
#include "tests/tolerances.h"

using namespace lancet;
using namespace lancet::test;

namespace {

const fs::path kFolder = fs::path(LANCET_TEST_DATA) / "losses";

at::Tensor stored(const std::string& name) {
  const auto file = Checkpoint::open(kFolder / "golden.safetensors");
  const TensorInfo* info = file->find(name);
  REQUIRE(info != nullptr);
  const Bytes bytes = file->data(*info);
  const auto dtype = info->dtype == DType::kF32   ? at::kFloat
                     : info->dtype == DType::kF64 ? at::kDouble
                                                  : at::kLong;
  at::Tensor out = at::empty(info->shape, dtype);
  REQUIRE(out.nbytes() == bytes.size());
  std::memcpy(out.mutable_data_ptr(), bytes.data(), bytes.size());
  return out;
}

template <typename To, typename From>
std::vector<To> list_of(const std::string& name) {
  const at::Tensor values = stored(name);
  const auto* from = values.const_data_ptr<From>();
  std::vector<To> out;
  for (std::int64_t i = 0; i < values.numel(); ++i) out.push_back(static_cast<To>(from[i]));
  return out;
}

LossTargets targets_of(const Json& index, const Decoder& model) {
  LossTargets out;
  out.next = list_of<std::int32_t, std::int64_t>("next");
  out.reference = list_of<double, double>("reference");
  out.sequence_begin = index["sequence_begin"].get<std::vector<std::int64_t>>();
  out.top_ids = list_of<std::int32_t, std::int64_t>("top_ids");
  out.top_logprobs = list_of<float, float>("top_logprobs");
  const std::size_t k = out.top_ids.size() / out.next.size();
  for (std::size_t i = 0; i <= out.next.size(); ++i)
    out.top_begin.push_back(static_cast<std::int64_t>(i * k));
  out.teacher = &model;
  out.teacher_hidden = stored("teacher_hidden");
  return out;
}

}  // namespace

TEST_CASE("losses: DPO and distillation give PyTorch's values and gradients") {
  const Decoder model = load_tiny("plain");
  const Json index = read_json(kFolder / "golden.json");
  const LossTargets targets = targets_of(index, model);
  const Json& cases = index["cases"];
  REQUIRE(cases.size() >= 14);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    INFO(cases[i].dump());
    const LossOptions options =
        loss_options(cases[i]["loss"].get<std::string>(),
                     cases[i]["options"].get<std::map<std::string, std::string>>());
    const at::Tensor hidden = stored("hidden").requires_grad_(true);
    const LossResult mine = head_loss(model, hidden, targets, options);
    const auto expected = cases[i]["value"].get<double>();
    CHECK(std::fabs(mine.sum.item<double>() - expected) <
          tolerance::kLossValue * std::fabs(expected));
    const at::Tensor gradient = torch::autograd::grad({mine.sum}, {hidden})[0];
    CHECK(relative(gradient, stored("gradient." + std::to_string(i))) < tolerance::kLossGradient);
  }
}
