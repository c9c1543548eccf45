#include "tests/model/fused_cases.h"

#include <limits>

#include <torch/csrc/autograd/autograd.h>

namespace lancet::test {
namespace {

const std::vector<at::ScalarType> kTypes{at::kFloat, at::kBFloat16};

at::Tensor random(at::IntArrayRef shape, at::ScalarType type, double scale = 1) {
  return (at::randn(shape) * scale).to(type);
}

std::string type_name(at::ScalarType type) { return type == at::kFloat ? "float32" : "bfloat16"; }

at::Tensor norm_formula(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return x * at::rsqrt(x.square().mean(-1, true) + eps) * weight.to(x.scalar_type());
}

FusedCase norm_case(std::int64_t d, at::ScalarType type, at::ScalarType weight_type, bool early) {
  Norm norm;
  norm.spec.eps = 1e-5;
  norm.spec.scale_before_cast = early;
  norm.weight = random({d}, weight_type) + 1;
  const auto on = [norm](const at::Tensor& x) {
    Norm there = norm;
    there.weight = norm.weight.to(x.device());
    return fused::rms_norm(there, x);
  };
  FusedCase out;
  out.name = "norm of " + std::to_string(d) + " " + type_name(type) + " by " +
             type_name(weight_type) + (early ? ", early" : "");
  out.inputs = {random({2, 3, d}, type, 2)};
  // The stream goes on beside its norm: the backward pass adds both gradients.
  out.fused = [on](const std::vector<at::Tensor>& x) {
    const fused::Normed both = on(x[0]);
    return at::cat({both.normed, both.stream}, -1);
  };
  out.formula = [norm](const std::vector<at::Tensor>& x) {
    return at::cat({norm_formula(x[0], norm.weight, norm.spec.eps), x[0]}, -1);
  };
  return out;
}

at::Tensor rotate_formula(const at::Tensor& x, std::int64_t d_head, const RopeSpec& rope,
                          const RopeTable& table, const at::Tensor& positions) {
  const at::Tensor heads = x.view({x.size(0), x.size(1), -1, d_head});
  const at::Tensor cos = table.cos.to(at::kDouble).index({positions}).unsqueeze(2);
  const at::Tensor sin = table.sin.to(at::kDouble).index({positions}).unsqueeze(2);
  const at::Tensor turned = heads.narrow(-1, 0, rope.dims);
  const at::Tensor kept = heads.narrow(-1, rope.dims, d_head - rope.dims);
  at::Tensor pairs = rope.interleaved ? turned.unflatten(-1, {rope.dims / 2, 2})
                                      : turned.unflatten(-1, {2, rope.dims / 2}).transpose(-1, -2);
  const at::Tensor a = pairs.select(-1, 0), b = pairs.select(-1, 1);
  pairs = at::stack({a * cos - b * sin, b * cos + a * sin}, -1);
  const at::Tensor out = rope.interleaved ? pairs.flatten(-2) : pairs.transpose(-1, -2).flatten(-2);
  return at::cat({out, kept}, -1).flatten(2);
}

FusedCase rotate_case(std::int64_t d_head, std::int64_t dims, bool interleaved,
                      at::ScalarType type) {
  RopeSpec rope;
  rope.dims = dims;
  rope.interleaved = interleaved;
  const RopeTable table = RopeCache(rope, 64).table(64, 64, at::kCPU);
  const at::Tensor positions = at::tensor({0, 1, 2, 63, 5, 5, 0, 17}, at::kLong).view({2, 4});
  const auto turn = [=](const at::Tensor& x) {
    const RopeTable there{table.cos.to(x.device()), table.sin.to(x.device())};
    return fused::rotate(x, d_head, rope, there, positions.to(x.device()));
  };
  FusedCase out;
  out.name = "rotation of " + std::to_string(dims) + " of " + std::to_string(d_head) + " " +
             type_name(type) + (interleaved ? ", interleaved" : "");
  out.inputs = {random({2, 4, 5 * d_head}, type)};
  // Rows of a wider product: three of its five heads.
  out.fused = [=](const std::vector<at::Tensor>& x) {
    return turn(x[0].narrow(-1, d_head, 3 * d_head));
  };
  out.formula = [=](const std::vector<at::Tensor>& x) {
    return rotate_formula(x[0].narrow(-1, d_head, 3 * d_head).contiguous(), d_head, rope, table,
                          positions);
  };
  return out;
}

FusedCase swiglu_case(std::int64_t d, at::ScalarType type, bool halves) {
  FusedCase out;
  out.name = "swiglu of " + std::to_string(d) + " " + type_name(type) +
             (halves ? ", halves of one product" : "");
  out.inputs = {random({2, 3, 2 * d}, type, 6)};
  const auto parts = [halves](const at::Tensor& x) {
    auto both = x.chunk(2, -1);
    if (!halves) both = {both[0].contiguous(), both[1].contiguous()};
    return both;
  };
  out.fused = [parts](const std::vector<at::Tensor>& x) {
    const auto both = parts(x[0]);
    return fused::swiglu(both[0], both[1]);
  };
  out.formula = [parts](const std::vector<at::Tensor>& x) {
    const auto both = parts(x[0]);
    return at::silu(both[0]) * both[1];
  };
  return out;
}

CrossEntropyCase cross_entropy_case(const std::string& name, std::int64_t vocab,
                                    at::ScalarType type, const fused::LogitForm& form,
                                    bool weighted) {
  CrossEntropyCase out{name + ", " + std::to_string(vocab) + " " + type_name(type),
                       random({5, vocab}, type, 5),
                       {},
                       {},
                       form};
  for (std::int32_t i = 0; i < 5; ++i)
    out.targets.push_back(static_cast<std::int32_t>((vocab - 1) * i / 4));
  out.targets[2] = -1;
  if (weighted) out.weights = {0.5F, 1, 3, 0, -1};
  return out;
}

}  // namespace

std::vector<FusedCase> norm_cases() {
  at::manual_seed(3);
  std::vector<FusedCase> out;
  for (const std::int64_t d : {1, 5, 64, 256, 257, 576, 1027, 4096}) {
    for (const bool early : {false, true}) {
      out.push_back(norm_case(d, at::kFloat, at::kFloat, early));
      out.push_back(norm_case(d, at::kBFloat16, at::kBFloat16, early));
      out.push_back(norm_case(d, at::kBFloat16, at::kFloat, early));
    }
  }
  return out;
}

std::vector<FusedCase> rotate_cases() {
  at::manual_seed(4);
  std::vector<FusedCase> out;
  for (const at::ScalarType type : kTypes) {
    for (const bool interleaved : {false, true}) {
      for (const auto& [d_head, dims] :
           {std::pair{2, 2}, std::pair{64, 64}, std::pair{10, 6}, std::pair{128, 32}})
        out.push_back(rotate_case(d_head, dims, interleaved, type));
    }
  }
  return out;
}

std::vector<FusedCase> swiglu_cases() {
  at::manual_seed(5);
  std::vector<FusedCase> out;
  for (const at::ScalarType type : kTypes) {
    for (const std::int64_t d : {1, 3, 64, 1023, 1536}) {
      for (const bool halves : {false, true}) out.push_back(swiglu_case(d, type, halves));
    }
  }
  return out;
}

std::vector<CrossEntropyCase> cross_entropy_cases() {
  at::manual_seed(6);
  std::vector<CrossEntropyCase> out;
  for (const at::ScalarType type : kTypes) {
    for (const std::int64_t vocab : {1, 2, 5, 1000, 4099, 151936})
      out.push_back(cross_entropy_case("plain", vocab, type, {}, vocab % 2 == 0));
    out.push_back(cross_entropy_case("scale", 1000, type, {0.25, 0, {}}, true));
    out.push_back(cross_entropy_case("softcap", 1003, type, {1, 3, {}}, true));
    out.push_back(cross_entropy_case("all", 1000, type, {1.5, 8, {{3, 9}, {700, 740}}}, true));
  }
  return out;
}

std::vector<at::Tensor> outcome(const FusedCase::Function& f, const std::vector<at::Tensor>& inputs,
                                const at::Device& device) {
  std::vector<at::Tensor> leaves;
  for (const at::Tensor& each : inputs)
    leaves.push_back(each.to(device).detach().clone().requires_grad_(true));
  const at::Tensor y = f(leaves);
  const at::Tensor noise = at::arange(y.numel(), at::kDouble).mul(0.7).sin().view(y.sizes());
  std::vector<at::Tensor> out{y.detach().to(at::kCPU)};
  for (const at::Tensor& each :
       torch::autograd::grad({y}, leaves, {noise.to(device, y.scalar_type())}))
    out.push_back(each.to(at::kCPU));
  return out;
}

CrossEntropyOutcome outcome(const CrossEntropyCase& given, const at::Device& device) {
  const at::Tensor logits = given.logits.to(device).clone();
  const at::Tensor losses =
      fused::cross_entropy(logits, given.targets, given.weights, given.form, true);
  return {losses.to(at::kCPU), logits.to(at::kCPU)};
}

CrossEntropyOutcome formula(const CrossEntropyCase& given) {
  const at::Tensor x = given.logits.to(at::kDouble).requires_grad_(true);
  at::Tensor z = x * given.form.scale;
  if (given.form.softcap != 0) z = at::tanh(z / given.form.softcap) * given.form.softcap;
  at::Tensor mask = at::zeros({x.size(1)}, at::kBool);
  for (const auto& [first, last] : given.form.masked) mask.slice(0, first, last).fill_(true);
  z = z.masked_fill(mask, static_cast<double>(std::numeric_limits<float>::lowest()));
  const at::Tensor target = at::tensor(given.targets, at::kLong);
  const at::Tensor counts = (target >= 0).to(at::kDouble);
  const at::Tensor picked = z.gather(1, target.clamp_min(0).unsqueeze(1)).squeeze(1);
  const at::Tensor losses = (at::logsumexp(z, 1) - picked) * counts;
  const at::Tensor weights = given.weights.empty() ? at::ones({x.size(0)}, at::kDouble)
                                                   : at::tensor(given.weights).to(at::kDouble);
  return {losses.detach(), torch::autograd::grad({(losses * weights).sum()}, {x})[0]};
}

}  // namespace lancet::test
