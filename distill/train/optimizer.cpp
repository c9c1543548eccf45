#include "distill/train/optimizer.h"

#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "core/parallel.h"
#include "core/text.h"
#include "formats/quant/dynamic_map.h"

namespace lancet {
namespace {

constexpr std::size_t kGrain = 16384;
constexpr std::size_t kBlock = 256;  ///< values that share a scale

void check(bool good, std::string_view what, double found) {
  if (!good) fail(ErrorKind::kUsage, "train", fmt::format("expected {}, found {}", what, found));
}

void check_settings(const OptimizerSettings& s) {
  check(s.lr > 0 && std::isfinite(s.lr), "a learning rate above 0", s.lr);
  check(s.beta1 >= 0 && s.beta1 < 1, "a beta from 0 to below 1", s.beta1);
  check(s.beta2 >= 0 && s.beta2 < 1, "a beta from 0 to below 1", s.beta2);
  check(s.epsilon > 0 && s.epsilon < 1, "an epsilon above 0 and below 1", s.epsilon);
  check(s.weight_decay >= 0 && s.weight_decay < 1e3, "a weight decay of at least 0",
        s.weight_decay);
  check(s.lora_plus >= 1 && s.lora_plus <= 1e4, "a LoRA+ ratio from 1 to 10000", s.lora_plus);
  check(s.clip >= 0, "a clipping norm of at least 0", s.clip);
}

std::size_t count_of(const at::Tensor& tensor) { return static_cast<std::size_t>(tensor.numel()); }

/// The constants of one update, as float32.
struct Constants {
  float keep, take1, take2, beta2, step, root2, epsilon, scale;
};

void update_values(float* p, const float* g, float* m, float* v, std::size_t count,
                   const Constants& c) {
  for (std::size_t i = 0; i < count; ++i) {
    const float grad = g[i] * c.scale;
    m[i] += c.take1 * (grad - m[i]);
    v[i] = c.beta2 * v[i] + c.take2 * grad * grad;
    p[i] = p[i] * c.keep - c.step * (m[i] / (std::sqrt(v[i]) / c.root2 + c.epsilon));
  }
}

class AdamW final : public Optimizer {
 public:
  AdamW(const OptimizerSettings& settings, std::vector<at::Tensor> parameters)
      : Optimizer(settings, std::move(parameters)) {
    for (const at::Tensor& each : this->parameters()) {
      m_.push_back(at::zeros(each.sizes(), at::kFloat));
      v_.push_back(at::zeros(each.sizes(), at::kFloat));
    }
  }

  std::vector<std::pair<std::string, at::Tensor>> state() override {
    std::vector<std::pair<std::string, at::Tensor>> out;
    for (std::size_t i = 0; i < m_.size(); ++i) {
      out.emplace_back(fmt::format("m.{}", i), m_[i]);
      out.emplace_back(fmt::format("v.{}", i), v_[i]);
    }
    return out;
  }

 private:
  void update(std::size_t index, const Update& how) override;
  std::vector<at::Tensor> m_, v_;
};

/// m and v as codes; one block is decoded, updated and encoded again.
class AdamW8bit final : public Optimizer {
 public:
  AdamW8bit(const OptimizerSettings& settings, std::vector<at::Tensor> parameters)
      : Optimizer(settings, std::move(parameters)) {
    for (const at::Tensor& each : this->parameters()) {
      const std::int64_t blocks = (each.numel() + static_cast<std::int64_t>(kBlock) - 1) /
                                  static_cast<std::int64_t>(kBlock);
      m_.push_back(at::full({each.numel()}, signed_map().zero_code(), at::kByte));
      v_.push_back(at::full({each.numel()}, unsigned_map().zero_code(), at::kByte));
      m_scale_.push_back(at::zeros({blocks}, at::kFloat));
      v_scale_.push_back(at::zeros({blocks}, at::kFloat));
    }
  }

  std::vector<std::pair<std::string, at::Tensor>> state() override {
    std::vector<std::pair<std::string, at::Tensor>> out;
    for (std::size_t i = 0; i < m_.size(); ++i) {
      out.emplace_back(fmt::format("m.{}", i), m_[i]);
      out.emplace_back(fmt::format("v.{}", i), v_[i]);
      out.emplace_back(fmt::format("m_scale.{}", i), m_scale_[i]);
      out.emplace_back(fmt::format("v_scale.{}", i), v_scale_[i]);
    }
    return out;
  }

 private:
  void update(std::size_t index, const Update& how) override;
  std::vector<at::Tensor> m_, v_, m_scale_, v_scale_;
};

Constants constants_of(const OptimizerSettings& s, double lr, double bias1, double bias2,
                       double gradient_scale) {
  return {static_cast<float>(1 - lr * s.weight_decay),
          static_cast<float>(1 - s.beta1),
          static_cast<float>(1 - s.beta2),
          static_cast<float>(s.beta2),
          static_cast<float>(lr / bias1),
          static_cast<float>(std::sqrt(bias2)),
          static_cast<float>(s.epsilon),
          static_cast<float>(gradient_scale)};
}

void AdamW::update(std::size_t index, const Update& how) {
  const at::Tensor p = parameters()[index].detach();
  const at::Tensor grad = parameters()[index].grad();
  const at::Tensor g = grad.defined() ? grad.contiguous() : at::zeros_like(p);
  const Constants c = constants_of(settings(), how.lr, how.bias1, how.bias2, how.gradient_scale);
  auto* to = p.mutable_data_ptr<float>();
  auto* m = m_[index].mutable_data_ptr<float>();
  auto* v = v_[index].mutable_data_ptr<float>();
  const auto* from = g.const_data_ptr<float>();
  parallel::for_chunks(count_of(p), kGrain, [&](std::size_t begin, std::size_t end) {
    update_values(to + begin, from + begin, m + begin, v + begin, end - begin, c);
  });
}

void AdamW8bit::update(std::size_t index, const Update& how) {
  const at::Tensor p = parameters()[index].detach();
  const at::Tensor grad = parameters()[index].grad();
  const at::Tensor g = grad.defined() ? grad.contiguous() : at::zeros_like(p);
  const Constants c = constants_of(settings(), how.lr, how.bias1, how.bias2, how.gradient_scale);
  auto* to = p.mutable_data_ptr<float>();
  auto* m = m_[index].mutable_data_ptr<std::uint8_t>();
  auto* v = v_[index].mutable_data_ptr<std::uint8_t>();
  auto* m_scale = m_scale_[index].mutable_data_ptr<float>();
  auto* v_scale = v_scale_[index].mutable_data_ptr<float>();
  const auto* from = g.const_data_ptr<float>();
  parallel::for_chunks(count_of(p), kGrain, [&](std::size_t begin, std::size_t end) {
    std::array<float, kBlock> wide_m{};
    std::array<float, kBlock> wide_v{};
    for (std::size_t i = begin; i < end; i += kBlock) {
      const std::size_t n = std::min(kBlock, end - i);
      signed_map().decode({m + i, n}, m_scale[i / kBlock], wide_m.data());
      unsigned_map().decode({v + i, n}, v_scale[i / kBlock], wide_v.data());
      update_values(to + i, from + i, wide_m.data(), wide_v.data(), n, c);
      m_scale[i / kBlock] = signed_map().encode({wide_m.data(), n}, m + i);
      v_scale[i / kBlock] = unsigned_map().encode({wide_v.data(), n}, v + i);
    }
  });
}

}  // namespace

double gradient_norm(const std::vector<at::Tensor>& parameters) {
  double sum = 0;
  for (const at::Tensor& each : parameters) {
    if (!each.grad().defined()) continue;
    const at::Tensor grad = each.grad().contiguous();
    const auto* g = grad.const_data_ptr<float>();
    sum += parallel::sum_chunks(count_of(grad), kGrain, [g](std::size_t begin, std::size_t end) {
      double part = 0;
      for (std::size_t i = begin; i < end; ++i)
        part += static_cast<double>(g[i]) * static_cast<double>(g[i]);
      return part;
    });
  }
  return std::sqrt(sum);
}

Optimizer::Optimizer(const OptimizerSettings& settings, std::vector<at::Tensor> parameters)
    : settings_(settings), parameters_(std::move(parameters)) {
  check_settings(settings_);
}

void Optimizer::step(double lr, double gradient_scale) {
  ++steps_;
  const auto t = static_cast<double>(steps_);
  Update how{.lr = lr,
             .gradient_scale = gradient_scale,
             .bias1 = 1 - std::pow(settings_.beta1, t),
             .bias2 = 1 - std::pow(settings_.beta2, t)};
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    // B of a part, and magnitudes, which stand behind all parts (as PEFT's LoRA+ groups them).
    const bool fast = parameters_[i].dim() == 1 || i % 2 == 1;
    how.lr = fast ? lr * settings_.lora_plus : lr;
    update(i, how);
  }
}

void Optimizer::clear_gradients() {
  for (at::Tensor& each : parameters_) each.mutable_grad().reset();
}

std::unique_ptr<Optimizer> make_optimizer(const OptimizerSettings& settings,
                                          std::vector<at::Tensor> parameters) {
  if (settings.name == "adamw") return std::make_unique<AdamW>(settings, std::move(parameters));
  if (settings.name == "adamw8bit")
    return std::make_unique<AdamW8bit>(settings, std::move(parameters));
  fail(ErrorKind::kUsage, "train",
       fmt::format("expected an optimizer of adamw, adamw8bit, found '{}'",
                   printable(settings.name)),
       did_you_mean(settings.name, {"adamw", "adamw8bit"}));
}

double optimizer_bytes(const OptimizerSettings& settings) {
  return settings.name == "adamw8bit" ? 2 * (1 + 4.0 / static_cast<double>(kBlock)) : 8;
}

}  // namespace lancet
