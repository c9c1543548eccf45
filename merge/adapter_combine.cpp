#include "merge/adapter_combine.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "merge/inner.h"

namespace lancet {
namespace {

constexpr std::string_view kOperation = "adapter combine";

/// One adapter's part in a module.
struct Part {
  std::size_t adapter = 0;
  LoraModule::Kind kind = LoraModule::Kind::kLinear;
  Matrix b, a;  ///< [d_out, r], [r, d_in]
  double scale = 1, weight = 1;
};

Matrix scaled(Matrix a, double factor) {
  for (double& value : a.values) value *= factor;
  return a;
}

Matrix to_matrix(const Adapter& adapter, const TensorInfo& tensor) {
  Matrix out(static_cast<std::size_t>(tensor.shape[0]), static_cast<std::size_t>(tensor.shape[1]));
  const std::vector<float> values = adapter.values(tensor);
  out.values.assign(values.begin(), values.end());
  return out;
}

std::vector<float> floats_of(const Matrix& matrix, const std::string& module) {
  std::vector<float> out(matrix.values.begin(), matrix.values.end());
  if (!std::ranges::all_of(out, [](float value) { return std::isfinite(value); }))
    fail(ErrorKind::kNumeric, kOperation,
         fmt::format("module '{}': a value of the result leaves the range of float32",
                     printable(module)),
         "give smaller --weights");
  return out;
}

[[noreturn]] void refuse_options(const std::string& message, std::string hint = {}) {
  fail(ErrorKind::kUsage, kOperation, message, std::move(hint));
}

void check_inner(const CombineOptions& options, std::size_t adapters) {
  const Method& inner = *options.inner;
  if (adapters < inner.min_models || adapters > inner.max_models) {
    const bool few = adapters < inner.min_models;
    const std::size_t limit = few ? inner.min_models : inner.max_models;
    refuse_options(fmt::format("--inner {}: expected at {} {} adapter{}, found {}", inner.name,
                               few ? "least" : "most", limit, limit == 1 ? "" : "s", adapters),
                   "task_arithmetic, ties, dare_ties, magmax, ... take any number");
  }
  const bool weighs = options.method == "factors" || find_parameter(inner, "weight") != nullptr;
  if (!weighs && std::ranges::any_of(options.weights, [](double weight) { return weight != 1; }))
    refuse_options(fmt::format("--weights: {} has none", inner.name));
  if (std::ranges::any_of(options.settings,
                          [](const auto& each) { return each.first == "weight"; }))
    refuse_options("--set weight: expected the weights in --weights");
  for (const MergeParameter& parameter : inner.parameters) {
    if (!std::isnan(parameter.fallback) || parameter.name == "weight") continue;
    if (std::ranges::none_of(options.settings,
                             [&](const auto& each) { return each.first == parameter.name; }))
      refuse_options(
          fmt::format("--inner {}: expected a value of {}, found none", inner.name, parameter.name),
          fmt::format("--set {}=VALUE: {}", parameter.name, parameter.help));
  }
}

/// sqrt(w s) with the sign of w on A alone, as PEFT has it.
double root_of(const Part& part, bool signed_root) {
  const double root = std::sqrt(std::fabs(part.weight * part.scale));
  return signed_root && part.weight * part.scale < 0 ? -root : root;
}

struct Product {
  Matrix b, a;
};

class Combiner {
 public:
  Combiner(const Linalg* linalg, const std::vector<std::shared_ptr<const Adapter>>& adapters,
           const CombineOptions& options)
      : linalg_(linalg), adapters_(adapters), options_(options) {}

  Combined run() {
    check_combine(options_, adapters_.size());
    std::set<std::string> modules;
    for (const auto& adapter : adapters_) check(*adapter);
    check_bases();
    for (const auto& adapter : adapters_) {
      for (const LoraModule& module : adapter->modules()) modules.insert(module.name);
    }
    Combined out;
    Json reports = Json::array();
    for (const std::string& name : modules) {
      const std::vector<Part> parts = parts_of(name);
      double energy = 1;
      const Product product = limited(merged(name, parts), energy);
      LoraFactors factors{name,
                          parts.front().kind,
                          static_cast<std::int64_t>(product.a.rows),
                          static_cast<std::int64_t>(product.a.columns),
                          static_cast<std::int64_t>(product.b.rows),
                          floats_of(product.a, name),
                          floats_of(product.b, name)};
      reports.push_back({{"name", name}, {"rank", factors.rank}, {"energy", energy}});
      out.file.modules.push_back(std::move(factors));
    }
    out.file.base = base_of(*adapters_[0]);
    out.report["modules"] = std::move(reports);
    out.report["warnings"] = std::move(warnings_);
    return out;
  }

 private:
  const Linalg* linalg_;
  const std::vector<std::shared_ptr<const Adapter>>& adapters_;
  const CombineOptions& options_;
  Json warnings_ = Json::array();

  [[noreturn]] static void refuse(const std::string& message, std::string hint = {}) {
    fail(ErrorKind::kMismatch, kOperation, message, std::move(hint));
  }

  static void check(const Adapter& adapter) {
    const std::string path = printable(adapter.path().string(), 400);
    adapter.check_finite();
    if (!adapter.saved().empty())
      refuse(fmt::format("{}: expected factors alone, found the whole tensor '{}'", path,
                         printable(adapter.saved()[0].name)),
             "fold it into its model with `lancet adapter merge` and merge the models");
    for (const LoraModule& module : adapter.modules()) {
      if (module.magnitude != nullptr)
        refuse(fmt::format("{}: module '{}' is a DoRA module: its update is no product of factors",
                           path, printable(module.name)),
               "fold it into its model with `lancet adapter merge` and merge the models");
    }
  }

  static std::string base_of(const Adapter& adapter) {
    const Json& config = adapter.config();
    const auto name = config.find("base_model_name_or_path");
    return name == config.end() || !name->is_string() ? std::string() : name->get<std::string>();
  }

  /// One model may have two names: by itself that is a warning.
  void check_bases() {
    const auto same = [](const std::string& a, const std::string& b) {
      return a.empty() || b.empty() ||
             (fs::path(a) / "").lexically_normal() == (fs::path(b) / "").lexically_normal();
    };
    const auto turned = [](const Adapter& adapter) {
      return json_bool(adapter.config(), "fan_in_fan_out", "adapter_config.json", false);
    };
    const Adapter& first = *adapters_[0];
    for (const auto& other : adapters_) {
      if (same(base_of(first), base_of(*other))) continue;
      const std::string message =
          fmt::format("'{}' was made for '{}' and '{}' for '{}'",
                      printable(first.path().string(), 400), printable(base_of(first), 200),
                      printable(other->path().string(), 400), printable(base_of(*other), 200));
      if (turned(first) != turned(*other))
        refuse("expected adapters of one model, found other fan_in_fan_out: " + message,
               "the adapters were made for different models");
      warnings_.push_back(message);
    }
  }

  std::vector<Part> parts_of(const std::string& name) const {
    std::vector<Part> out;
    for (std::size_t i = 0; i < adapters_.size(); ++i) {
      const auto& modules = adapters_[i]->modules();
      const auto found = std::ranges::lower_bound(modules, name, {}, &LoraModule::name);
      if (found == modules.end() || found->name != name) continue;
      out.push_back({i, found->kind, to_matrix(*adapters_[i], *found->b),
                     to_matrix(*adapters_[i], *found->a), found->scale, options_.weights[i]});
      const Part& own = out.back();
      if (own.kind != out[0].kind || own.b.rows != out[0].b.rows ||
          own.a.columns != out[0].a.columns)
        refuse(fmt::format("module '{}' has another shape in '{}' than in '{}'", printable(name),
                           printable(adapters_[i]->path().string(), 400),
                           printable(adapters_[out[0].adapter]->path().string(), 400)),
               "the adapters were made for different models");
    }
    return out;
  }

  Product merged(const std::string& name, const std::vector<Part>& parts) const {
    if (takes_inner(options_.method) && parts.size() < options_.inner->min_models)
      refuse(
          fmt::format("module '{}': --inner {} merges at least {} adapters, found {} with it",
                      printable(name), options_.inner->name, options_.inner->min_models,
                      parts.size()),
          "choose adapters of the same modules, or an inner method that takes one: ties, magmax");
    if (options_.method == "linear" || options_.method == "factors") return factored(name, parts);
    if (options_.method == "core_space") return core_space(name, parts);
    if (options_.method == "knots") return knots(name, parts);
    return concatenated(parts);
  }

  static Product concatenated(const std::vector<Part>& parts) {
    std::vector<Matrix> bs, as;
    for (const Part& part : parts) {
      bs.push_back(scaled(part.b, part.weight * part.scale));
      as.push_back(part.a);
    }
    return {beside(bs), below(as)};
  }

  Product factored(const std::string& name, const std::vector<Part>& parts) const {
    std::vector<Matrix> bs, as;
    for (const Part& part : parts) {
      if (part.a.rows != parts[0].a.rows)
        refuse(fmt::format("module '{}': {} adds factors and needs equal ranks, found {} and {}",
                           printable(name), options_.method, parts[0].a.rows, part.a.rows),
               "cat, svd, core_space and knots take any ranks");
      bs.push_back(scaled(part.b, root_of(part, false)));
      as.push_back(scaled(part.a, root_of(part, true)));
    }
    const std::vector<double> ones(parts.size(), 1.0);
    return {inner(name + ".B", bs, ones), inner(name + ".A", as, ones)};
  }

  Product core_space(const std::string& name, const std::vector<Part>& parts) const {
    std::vector<Matrix> bs, as, cores;
    std::vector<double> weights;
    for (const Part& part : parts) {
      bs.push_back(part.b);
      as.push_back(part.a);
      weights.push_back(part.weight);
    }
    const Matrix left = linalg_->svd(beside(bs)).left;
    const Matrix right = linalg_->svd(below(as)).right;
    for (const Part& part : parts)
      cores.push_back(linalg_->multiply(scaled(linalg_->multiply(left, part.b, true), part.scale),
                                        linalg_->multiply(part.a, right, false, true)));
    return {linalg_->multiply(left, inner(name, cores, weights)), right};
  }

  Product knots(const std::string& name, const std::vector<Part>& parts) const {
    std::vector<Matrix> bs, blocks;
    std::vector<double> weights;
    for (const Part& part : parts) bs.push_back(scaled(part.b, part.scale));
    const Qr qr = linalg_->qr(beside(bs));
    std::size_t at = 0;
    for (const Part& part : parts) {
      blocks.push_back(linalg_->multiply(columns_of(qr.r, at, at + part.a.rows), part.a));
      at += part.a.rows;
      weights.push_back(part.weight);
    }
    const Svd svd = linalg_->svd(beside(blocks));
    Matrix left = linalg_->multiply(qr.q, svd.left);
    scale_columns(left, svd.values);
    const std::size_t width = parts[0].a.columns;
    std::vector<Matrix> rights;
    for (std::size_t i = 0; i < parts.size(); ++i)
      rights.push_back(columns_of(svd.right, i * width, (i + 1) * width));
    return {left, inner(name, rights, weights)};
  }

  /// The inner method (task_arithmetic where none is given) on deltas from zero.
  Matrix inner(const std::string& name, const std::vector<Matrix>& matrices,
               const std::vector<double>& weights) const {
    const auto value = [&](const MergeParameter& parameter, std::size_t i) {
      for (const auto& [key, number] : options_.settings) {
        if (key == parameter.name) return number;
      }
      return parameter.name == "weight" ? weights[i] : parameter.fallback;
    };
    return merge_matrices(
        {.method = options_.inner, .value = value, .linalg = linalg_, .seed = options_.seed}, name,
        matrices);
  }

  /// Cut to options.rank, where that is less: B A = Q_b (R_b R_a^T) Q_a^T.
  Product limited(Product product, double& energy) const {
    const std::size_t rank = options_.rank;
    if (linalg_ == nullptr || options_.method == "cat" || options_.method == "linear" ||
        options_.method == "factors" || (rank == 0 && options_.method != "core_space"))
      return product;
    const Qr b = linalg_->qr(product.b);
    // A^T = Q R.
    const Qr a = linalg_->qr(linalg_->multiply(product.a, identity(product.a.rows), true));
    const Matrix core = linalg_->multiply(b.r, a.r, false, true);
    Svd svd = truncated_svd(*linalg_, core, rank == 0 ? product.a.rows : rank, SvdMode::kExact);
    energy = 1 - svd.error * svd.error;
    std::vector<double> roots;
    for (const double each : svd.values) roots.push_back(std::sqrt(each));
    scale_columns(svd.left, roots);
    scale_rows(svd.right, roots);
    return {linalg_->multiply(b.q, svd.left), linalg_->multiply(svd.right, a.q, false, true)};
  }

  static Matrix identity(std::size_t n) {
    Matrix out(n, n);
    for (std::size_t i = 0; i < n; ++i) out.at(i, i) = 1;
    return out;
  }
};

}  // namespace

bool takes_inner(std::string_view method) noexcept {
  return method == "factors" || method == "core_space" || method == "knots";
}

void check_combine(const CombineOptions& options, std::size_t adapters) {
  if (options.weights.size() != adapters)
    refuse_options(fmt::format("--weights: expected one for each of {} adapters, found {}",
                               adapters, options.weights.size()));
  for (const double weight : options.weights) {
    if (!std::isfinite(weight))
      refuse_options(fmt::format("--weights: expected finite numbers, found {}", weight));
  }
  const bool sized =
      options.method == "svd" || options.method == "core_space" || options.method == "knots";
  if (options.method == "svd" && options.rank == 0)
    refuse_options("--method svd: expected --rank N, found none");
  if (!sized && options.rank != 0)
    refuse_options(fmt::format("--rank: {} has the rank that its adapters give it", options.method),
                   "svd, core_space and knots take one");
  if (takes_inner(options.method)) check_inner(options, adapters);
}

bool needs_linalg(const CombineOptions& options) noexcept {
  return options.method == "svd" || options.method == "core_space" || options.method == "knots" ||
         (options.inner != nullptr && options.inner->needs_linalg);
}

Combined combine_adapters(const Linalg* linalg,
                          const std::vector<std::shared_ptr<const Adapter>>& adapters,
                          const CombineOptions& options) {
  return Combiner(linalg, adapters, options).run();
}

}  // namespace lancet
