#include "tests/surgery/reference_rome.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

namespace lancet::reference {
namespace {

using tiny_edit::kExpertFf;
using tiny_edit::kExperts;
using tiny_edit::kFf;
using tiny_edit::kHeadDim;
using tiny_edit::kHeads;
using tiny_edit::kKvHeads;
using tiny_edit::kLayers;
using tiny_edit::kModel;
using tiny_edit::kVocab;

/// A value and its derivatives with respect to the 32 components of delta.
struct Dual {
  double v = 0;
  std::array<double, kModel> d{};
  Dual() = default;
  Dual(double value) : v(value) {}  // NOLINT: a constant
};
Dual operator+(const Dual& a, const Dual& b) {
  Dual out(a.v + b.v);
  for (std::size_t i = 0; i < kModel; ++i) out.d[i] = a.d[i] + b.d[i];
  return out;
}
Dual operator-(const Dual& a, const Dual& b) {
  Dual out(a.v - b.v);
  for (std::size_t i = 0; i < kModel; ++i) out.d[i] = a.d[i] - b.d[i];
  return out;
}
Dual operator*(const Dual& a, const Dual& b) {
  Dual out(a.v * b.v);
  for (std::size_t i = 0; i < kModel; ++i) out.d[i] = a.d[i] * b.v + a.v * b.d[i];
  return out;
}
/// f(a) with slope f'(a).
Dual chain(const Dual& a, double value, double slope) {
  Dual out(value);
  for (std::size_t i = 0; i < kModel; ++i) out.d[i] = slope * a.d[i];
  return out;
}
Dual exp_of(const Dual& a) { return chain(a, std::exp(a.v), std::exp(a.v)); }
Dual log_of(const Dual& a) { return chain(a, std::log(a.v), 1 / a.v); }
Dual inverse(const Dual& a) { return chain(a, 1 / a.v, -1 / (a.v * a.v)); }
Dual silu(const Dual& a) {
  const double s = 1 / (1 + std::exp(-a.v));
  return chain(a, a.v * s, s * (1 + a.v * (1 - s)));
}

using Vec = std::vector<Dual>;

class Model {
 public:
  explicit Model(const tiny_edit::Weights& weights) : weights_(weights) {}

  struct Run {
    std::vector<Vec> final_hidden;  ///< per position
    std::vector<double> key,
        output,  ///< at lookup of the layer: down_proj in and out, before delta
        stream;  ///< and the stream leaving the block, with delta
  };

  /// All positions through all layers; delta is added to the MLP output of `layer` at `lookup`.
  [[nodiscard]] Run run(const std::vector<std::int32_t>& ids, std::int64_t layer,
                        std::int64_t lookup, const Vec& delta) const {
    Run out;
    std::vector<Vec> x;
    for (const auto id : ids) x.push_back(row("model.embed_tokens.weight", id));
    for (std::int64_t l = 0; l < kLayers; ++l) {
      const std::string at = "model.layers." + std::to_string(l) + ".";
      attention(at, x);
      for (std::size_t t = 0; t < x.size(); ++t) {
        const Vec h = norm(at + "post_attention_layernorm.weight", x[t]);
        const bool experts = tiny_edit::has_experts(weights_);
        auto [key, value] =
            experts ? mixture(at + "block_sparse_moe.", h)
                    : mlp(at + "mlp.gate_proj", at + "mlp.up_proj", at + "mlp.down_proj", h);
        if (l == layer && static_cast<std::int64_t>(t) == lookup) {
          for (const Dual& k : key) out.key.push_back(k.v);
          for (const Dual& v : value) out.output.push_back(v.v);
          for (std::size_t i = 0; i < value.size(); ++i) value[i] = value[i] + delta[i];
        }
        for (std::size_t i = 0; i < value.size(); ++i) x[t][i] = x[t][i] + value[i];
        if (l != layer || static_cast<std::int64_t>(t) != lookup) continue;
        for (const Dual& value_now : x[t]) out.stream.push_back(value_now.v);
      }
    }
    out.final_hidden = std::move(x);
    return out;
  }

  [[nodiscard]] Vec log_probs(const Vec& hidden) const {
    Vec logits = product("lm_head.weight", norm("model.norm.weight", hidden));
    double highest = logits[0].v;
    for (const Dual& logit : logits) highest = std::max(highest, logit.v);
    Dual sum(0);
    for (const Dual& logit : logits) sum = sum + exp_of(logit - Dual(highest));
    const Dual total = log_of(sum) + Dual(highest);
    for (Dual& logit : logits) logit = logit - total;
    return logits;
  }

  [[nodiscard]] Vec logits(const Vec& hidden) const {
    return product("lm_head.weight", norm("model.norm.weight", hidden));
  }

 private:
  const tiny_edit::Weights& weights_;

  /// Key and output of one MLP.
  [[nodiscard]] std::pair<Vec, Vec> mlp(const std::string& gate_name, const std::string& up_name,
                                        const std::string& down_name, const Vec& h) const {
    const Vec gate = product(gate_name + ".weight", h), up = product(up_name + ".weight", h);
    Vec key(gate.size());
    for (std::size_t i = 0; i < key.size(); ++i) key[i] = silu(gate[i]) * up[i];
    Vec value = product(down_name + ".weight", key);
    return {std::move(key), std::move(value)};
  }
  /// The two best experts by their weights; the key has each one's key times its weight, and zeros
  /// for the others.
  [[nodiscard]] std::pair<Vec, Vec> mixture(const std::string& at, const Vec& h) const {
    const Vec logits = product(at + "gate.weight", h);
    std::vector<std::size_t> order{0, 1, 2, 3};
    std::sort(order.begin(), order.end(),
              [&](std::size_t a, std::size_t b) { return logits[a].v > logits[b].v; });
    const Dual first = exp_of(logits[order[0]]), second = exp_of(logits[order[1]]);
    const Dual scale = inverse(first + second);
    Vec key(kExperts * kExpertFf), value(kModel);
    for (const auto& [expert, weight] :
         {std::pair{order[0], first * scale}, std::pair{order[1], second * scale}}) {
      const std::string name = at + "experts." + std::to_string(expert);
      const auto own = mlp(name + ".w1", name + ".w3", name + ".w2", h);
      for (std::size_t i = 0; i < own.first.size(); ++i)
        key[expert * kExpertFf + i] = own.first[i] * weight;
      for (std::size_t i = 0; i < own.second.size(); ++i)
        value[i] = value[i] + own.second[i] * weight;
    }
    return {std::move(key), std::move(value)};
  }
  [[nodiscard]] Vec row(const std::string& name, std::int64_t index) const {
    const auto& w = weights_.at(name);
    Vec out;
    for (std::int64_t i = 0; i < kModel; ++i)
      out.emplace_back(static_cast<double>(w[static_cast<std::size_t>(index * kModel + i)]));
    return out;
  }
  [[nodiscard]] Vec product(const std::string& name, const Vec& x) const {
    const auto& w = weights_.at(name);
    Vec out(w.size() / x.size());
    for (std::size_t r = 0; r < out.size(); ++r) {
      for (std::size_t c = 0; c < x.size(); ++c) {
        const auto factor = static_cast<double>(w[r * x.size() + c]);
        out[r].v += factor * x[c].v;
        for (std::size_t i = 0; i < kModel; ++i) out[r].d[i] += factor * x[c].d[i];
      }
    }
    return out;
  }
  [[nodiscard]] Vec norm(const std::string& name, const Vec& x) const {
    Dual square(0);
    for (const Dual& value : x) square = square + value * value;
    const Dual mean = square * Dual(1.0 / kModel) + Dual(1e-5);
    const Dual scale = chain(mean, 1 / std::sqrt(mean.v), -0.5 / (mean.v * std::sqrt(mean.v)));
    const auto& w = weights_.at(name);
    Vec out;
    for (std::size_t i = 0; i < x.size(); ++i)
      out.push_back(x[i] * scale * Dual(static_cast<double>(w[i])));
    return out;
  }
  /// Rotates pairs (i, i + 4) of every head of 8.
  static void rope(Vec& x, std::size_t position) {
    constexpr std::size_t kHalf = kHeadDim / 2;
    for (std::size_t head = 0; head < x.size() / kHeadDim; ++head) {
      for (std::size_t i = 0; i < kHalf; ++i) {
        const double angle =
            static_cast<double>(position) * std::pow(10000.0, -static_cast<double>(i) / kHalf);
        const Dual a = x[head * kHeadDim + i], b = x[head * kHeadDim + i + kHalf];
        const Dual c(std::cos(angle)), s(std::sin(angle));
        x[head * kHeadDim + i] = a * c - b * s;
        x[head * kHeadDim + i + kHalf] = b * c + a * s;
      }
    }
  }
  void attention(const std::string& at, std::vector<Vec>& x) const {
    std::vector<Vec> q, k, v;
    for (std::size_t t = 0; t < x.size(); ++t) {
      const Vec h = norm(at + "input_layernorm.weight", x[t]);
      q.push_back(product(at + "self_attn.q_proj.weight", h));
      k.push_back(product(at + "self_attn.k_proj.weight", h));
      v.push_back(product(at + "self_attn.v_proj.weight", h));
      rope(q.back(), t);
      rope(k.back(), t);
    }
    for (std::size_t t = x.size(); t-- > 0;) {
      Vec mixed(kHeads * kHeadDim);
      for (std::size_t head = 0; head < kHeads; ++head) {
        const std::size_t from = head / (kHeads / kKvHeads) * kHeadDim;
        Vec weight;
        Dual sum(0);
        for (std::size_t s = 0; s <= t; ++s) {
          Dual dot(0);
          for (std::size_t i = 0; i < kHeadDim; ++i)
            dot = dot + q[t][head * kHeadDim + i] * k[s][from + i];
          weight.push_back(exp_of(dot * Dual(1 / std::sqrt(static_cast<double>(kHeadDim)))));
          sum = sum + weight.back();
        }
        const Dual scale = inverse(sum);
        for (std::size_t s = 0; s <= t; ++s) {
          for (std::size_t i = 0; i < kHeadDim; ++i) {
            mixed[head * kHeadDim + i] =
                mixed[head * kHeadDim + i] + weight[s] * scale * v[s][from + i];
          }
        }
      }
      const Vec out = product(at + "self_attn.o_proj.weight", mixed);
      for (std::size_t i = 0; i < out.size(); ++i) x[t][i] = x[t][i] + out[i];
    }
  }
};

double norm_of(const std::vector<double>& x) {
  double sum = 0;
  for (const double value : x) sum += value * value;
  return std::sqrt(sum);
}

/// x with A x = b by Gaussian elimination with pivots.
std::vector<double> solve(std::vector<double> a, std::vector<double> b) {
  const std::size_t n = b.size();
  for (std::size_t c = 0; c < n; ++c) {
    std::size_t pivot = c;
    for (std::size_t r = c + 1; r < n; ++r) {
      if (std::fabs(a[r * n + c]) > std::fabs(a[pivot * n + c])) pivot = r;
    }
    for (std::size_t i = 0; i < n; ++i) std::swap(a[c * n + i], a[pivot * n + i]);
    std::swap(b[c], b[pivot]);
    for (std::size_t r = c + 1; r < n; ++r) {
      const double factor = a[r * n + c] / a[c * n + c];
      for (std::size_t i = c; i < n; ++i) a[r * n + i] -= factor * a[c * n + i];
      b[r] -= factor * b[c];
    }
  }
  for (std::size_t c = n; c-- > 0;) {
    for (std::size_t i = c + 1; i < n; ++i) b[c] -= a[c * n + i] * b[i];
    b[c] /= a[c * n + c];
  }
  return b;
}

struct Loss {
  Dual total;
  std::vector<double> terms;
};

class Rome {
 public:
  explicit Rome(const Problem& problem) : p_(problem), model_(problem.weights) {}

  /// v_0, v* and the losses.
  Solution find_value() {
    Solution out;
    const auto run = model_.run(p_.rewriting[0].ids, p_.layer, p_.rewriting[0].lookup, Vec(kModel));
    const std::vector<double> start = p_.at_stream ? run.stream : run.output;
    const std::vector<double> delta = optimise(start, out.losses);
    for (std::size_t i = 0; i < start.size(); ++i) out.value.push_back(start[i] + delta[i]);
    return out;
  }

  Solution solve_all() {
    Solution out;
    std::vector<double> key, output(kModel, 0), start;
    const auto rows = static_cast<double>(p_.rewriting.size());
    for (const Prompt& prompt : p_.rewriting) {
      const auto run = model_.run(prompt.ids, p_.layer, prompt.lookup, Vec(kModel));
      if (start.empty()) start = run.output;
      key.resize(run.key.size(), 0);
      for (std::size_t i = 0; i < key.size(); ++i) key[i] += run.key[i] / rows;
      for (std::size_t i = 0; i < output.size(); ++i) output[i] += run.output[i] / rows;
    }
    const std::vector<double> delta = optimise(start, out.losses);
    out.key = key;
    for (std::size_t i = 0; i < start.size(); ++i) out.value.push_back(start[i] + delta[i]);
    out.right = solve(p_.covariance, key);
    const double size = norm_of(out.right);
    double product = 0;
    for (std::size_t i = 0; i < key.size(); ++i) {
      out.right[i] /= size;
      product += out.right[i] * key[i];
    }
    for (std::size_t i = 0; i < start.size(); ++i)
      out.left.push_back((out.value[i] - output[i]) / product);
    return out;
  }

 private:
  const Problem& p_;
  Model model_;
  std::vector<double> before_;  ///< log p of the unedited model at the KL row

  [[nodiscard]] Loss loss(const std::vector<double>& delta, double start_norm, std::size_t used) {
    Vec variable;
    for (std::size_t i = 0; i < delta.size(); ++i) {
      variable.emplace_back(delta[i]);
      variable.back().d[i] = 1;
    }
    const auto rows = static_cast<double>(used), tokens = static_cast<double>(p_.target.size());
    Dual nll(0);
    double probability = 0;
    for (const Prompt& prompt : std::span(p_.rewriting).first(used)) {
      const auto run = model_.run(prompt.ids, p_.layer, prompt.lookup, variable);
      Dual row(0);
      for (std::size_t t = 0; t < p_.target.size(); ++t) {
        const std::size_t at = prompt.ids.size() - p_.target.size() + t;
        row = row - model_.log_probs(run.final_hidden[at])[static_cast<std::size_t>(p_.target[t])] *
                        Dual(1 / tokens);
      }
      nll = nll + row * Dual(1 / rows);
      probability += std::exp(-row.v) / rows;
    }
    const auto run = model_.run(p_.subject.ids, p_.layer, p_.subject.lookup, variable);
    const Vec now = model_.log_probs(run.final_hidden[static_cast<std::size_t>(p_.subject.lookup)]);
    if (before_.empty()) {
      for (const Dual& value : now) before_.push_back(value.v);
    }
    Dual kl(0);
    for (std::size_t i = 0; i < before_.size(); ++i)
      kl = kl + exp_of(now[i]) * (now[i] - Dual(before_[i]));
    kl = kl * Dual(p_.kl);
    const double size = norm_of(delta);
    Dual decay(p_.weight_decay * size / (start_norm * start_norm));
    for (std::size_t i = 0; i < delta.size() && size > 0; ++i)
      decay.d[i] = p_.weight_decay * delta[i] / size / (start_norm * start_norm);
    const Dual total = nll + kl + decay;
    return {total, {total.v, nll.v, kl.v, decay.v, probability}};
  }

  std::vector<double> optimise(const std::vector<double>& start,
                               std::vector<std::vector<double>>& losses) {
    const double start_norm = norm_of(start);
    std::vector<double> delta(kModel, 0), m(kModel, 0), v(kModel, 0);
    bool few = p_.first_rows > 0;
    for (int pass = 0, step = 0; pass < p_.steps; ++pass) {
      const Loss now = loss(delta, start_norm, few ? p_.first_rows : p_.rewriting.size());
      losses.push_back(now.terms);
      if (few && (now.total.v < p_.stop || pass + 1 >= p_.steps / 2)) {
        few = false;
        continue;
      }
      if (now.total.v < p_.stop || pass + 1 == p_.steps) break;
      for (std::size_t i = 0; i < delta.size(); ++i) {
        const double g = now.total.d[i];
        m[i] = 0.9 * m[i] + 0.1 * g;
        v[i] = 0.999 * v[i] + 0.001 * g * g;
        const double m_hat = m[i] / (1 - std::pow(0.9, step + 1)),
                     v_hat = v[i] / (1 - std::pow(0.999, step + 1));
        delta[i] -= p_.lr * m_hat / (std::sqrt(v_hat) + 1e-8);
      }
      ++step;
      const double size = norm_of(delta);
      if (size > p_.clamp * start_norm) {
        for (double& value : delta) value *= p_.clamp * start_norm / size;
      }
    }
    return delta;
  }
};

}  // namespace

Solution rome(const Problem& problem) { return Rome(problem).solve_all(); }

namespace {

/// w [kModel, width] += left right^T with rows [first, first + width) of `right`, both of `count`
/// columns.
void add_product(std::vector<float>& w, const std::vector<double>& left,
                 const std::vector<double>& right, std::size_t count, std::size_t first) {
  const std::size_t width = w.size() / kModel;
  for (std::size_t i = 0; i < kModel; ++i) {
    for (std::size_t k = 0; k < width; ++k) {
      double change = 0;
      for (std::size_t f = 0; f < count; ++f)
        change += left[i * count + f] * right[(first + k) * count + f];
      w[i * width + k] += static_cast<float>(change);
    }
  }
}

}  // namespace

MassSolution mass_edit(const std::vector<Problem>& facts, const std::vector<std::int64_t>& layers,
                       const Answer& answer) {
  MassSolution out;
  const std::size_t count = facts.size();
  const std::int64_t top = layers.back();
  for (Problem fact : facts) {
    fact.layer = top;
    fact.at_stream = true;
    Solution solution = Rome(fact).find_value();
    out.values.push_back(std::move(solution.value));
    out.losses.push_back(std::move(solution.losses));
  }
  tiny_edit::Weights weights = facts.front().weights;
  const bool experts = tiny_edit::has_experts(weights);
  const std::size_t width = experts ? kExperts * kExpertFf : kFf;
  for (std::size_t j = 0; j < layers.size(); ++j) {
    const std::int64_t layer = layers[j];
    const Model model(weights);
    std::vector<double> keys(width * count), left(kModel * count);
    for (std::size_t f = 0; f < count; ++f) {
      const auto& rows = facts[f].rewriting;
      for (std::size_t r = 0; r < rows.size(); ++r) {
        const auto run = model.run(rows[r].ids, layer, rows[r].lookup, Vec(kModel));
        const double weight =
            rows.size() == 1 ? 1 : (r == 0 ? 0.5 : 0.5 / static_cast<double>(rows.size() - 1));
        for (std::size_t i = 0; i < width; ++i) keys[i * count + f] += weight * run.key[i];
      }
      const auto now = model.run(rows[0].ids, top, rows[0].lookup, Vec(kModel)).stream;
      for (std::size_t i = 0; i < kModel; ++i)
        left[i * count + f] = (out.values[f][i] - now[i]) / static_cast<double>(layers.size() - j);
    }
    const std::vector<double> right = answer(layer, keys);
    const std::string at = "model.layers." + std::to_string(layer) + ".";
    if (!experts) add_product(weights.at(at + "mlp.down_proj.weight"), left, right, count, 0);
    for (std::size_t e = 0; experts && e < kExperts; ++e) {
      const std::string name = at + "block_sparse_moe.experts." + std::to_string(e) + ".w2.weight";
      add_product(weights.at(name), left, right, count, e * kExpertFf);
    }
    out.keys[layer] = std::move(keys);
    out.left[layer] = std::move(left);
    out.answers[layer] = right;
  }
  return out;
}

std::vector<double> last_logits(const tiny_edit::Weights& weights,
                                const std::vector<std::int32_t>& ids) {
  const Model model(weights);
  const auto run = model.run(ids, -1, -1, Vec(kModel));
  std::vector<double> out;
  for (const Dual& logit : model.logits(run.final_hidden.back())) out.push_back(logit.v);
  return out;
}

}  // namespace lancet::reference
