#include "merge/adapter_extract.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/text.h"
#include "formats/model_writer.h"
#include "merge/layers.h"
#include "merge/matrices.h"

namespace lancet {
namespace {

constexpr std::string_view kOperation = "adapter extract";

std::vector<float> read_all(const ModelSource& model, const TensorInfo& tensor) {
  std::vector<float> out(tensor.elements());
  model.read_f32(tensor, 0, tensor.shape.empty() ? 1 : tensor.shape[0], out);
  return out;
}

Matrix difference(const ModelSource& base, const TensorInfo& b, const ModelSource& tuned,
                  const TensorInfo& t, double& base_norm) {
  const bool matrix = b.shape.size() == 2;
  Matrix out(matrix ? static_cast<std::size_t>(b.shape[0]) : 1,
             matrix ? static_cast<std::size_t>(b.shape[1]) : b.elements());
  const std::vector<float> from = read_all(base, b), to = read_all(tuned, t);
  base_norm = 0;
  for (std::size_t i = 0; i < out.values.size(); ++i) {
    out.values[i] = static_cast<double>(to[i]) - static_cast<double>(from[i]);
    base_norm += static_cast<double>(from[i]) * static_cast<double>(from[i]);
  }
  base_norm = std::sqrt(base_norm);
  return out;
}

/// Embeddings and heads.
bool tells_tokens(const std::string& name) {
  constexpr std::string_view kWords[] = {"embed", "wte", "wpe", "lm_head"};
  return std::ranges::any_of(
      kWords, [&](std::string_view word) { return name.find(word) != std::string::npos; });
}

std::size_t rank_for(const Svd& svd, double total, double energy) {
  double sum = 0;
  for (std::size_t k = 0; k < svd.values.size(); ++k) {
    sum += svd.values[k] * svd.values[k];
    if (sum >= energy * total) return k + 1;
  }
  return svd.values.size();
}

std::vector<float> floats_of(const Matrix& a) { return {a.values.begin(), a.values.end()}; }

class Extractor {
 public:
  Extractor(const Linalg& linalg, const ModelSource& base, const ModelSource& tuned,
            const ExtractOptions& options)
      : linalg_(linalg), base_(base), tuned_(tuned), options_(options) {}

  Extracted run() {
    check_names();
    for (const TensorInfo& tensor : base_.tensors()) {
      check_interrupted();
      if (dtype_info(tensor.dtype).floating) take(tensor);
    }
    if (out_.file.modules.empty() && whole_.empty()) {
      fail(ErrorKind::kMismatch, kOperation,
           fmt::format("expected linear layers that differ, found none between '{}' and '{}'",
                       printable(base_.checkpoint().path().string(), 400),
                       printable(tuned_.checkpoint().path().string(), 400)));
    }
    save_rest();
    if (options_.dtype) out_.file.dtype = *options_.dtype;
    out_.file.base = base_.checkpoint().path().string();
    out_.report["modules"] = std::move(modules_);
    out_.report["energy"] = total_ > 0 ? kept_ / total_ : 1.0;
    out_.report["left_out"] = std::move(left_out_);
    return std::move(out_);
  }

 private:
  const Linalg& linalg_;
  const ModelSource& base_;
  const ModelSource& tuned_;
  const ExtractOptions& options_;
  Extracted out_;
  std::set<std::string> whole_;  ///< tensors that no factors tell, to be saved
  Json modules_ = Json::array(), left_out_ = Json::array();
  double total_ = 0, kept_ = 0;

  /// A tensor that the tuned model alone has would be left out in silence; of a head that the base
  /// ties to its embedding that is what is asked about.
  void check_names() {
    for (const TensorInfo& tensor : tuned_.tensors()) {
      if (base_.find(tensor.name) != nullptr) continue;
      if (!tensor.name.ends_with("lm_head.weight")) {
        fail(
            ErrorKind::kMismatch, kOperation,
            fmt::format("tensor '{}' of '{}': expected it in the base '{}' too, found none",
                        printable(tensor.name), printable(tuned_.checkpoint().path().string(), 400),
                        printable(base_.checkpoint().path().string(), 400)),
            "the tuned model has the layers and tensors of its base");
      }
      keep_whole(tensor);
    }
  }

  void keep_whole(const TensorInfo& tensor) {
    if (options_.save_rest) {
      whole_.insert(tensor.name);
    } else {
      left_out_.push_back(tensor.name);
    }
  }

  /// A module without factors is saved with its weight and its bias, whichever has changed.
  void save_rest() {
    std::set<std::string> names = whole_;
    for (const std::string& name : whole_) {
      if (!name.ends_with(".weight") && !name.ends_with(".bias")) continue;
      const std::string module = name.substr(0, name.rfind('.'));
      if (std::ranges::find(out_.file.modules, module, &LoraFactors::module) !=
          out_.file.modules.end())
        continue;
      for (const char* part : {".weight", ".bias"}) {
        if (tuned_.find(module + part) != nullptr) names.insert(module + part);
      }
    }
    for (const std::string& name : names)
      out_.file.saved.push_back(copy_tensor(tuned_, tuned_.at(name), options_.dtype));
  }

  void take(const TensorInfo& tensor) {
    const TensorInfo& other = tuned_.at(tensor.name);
    if (other.shape != tensor.shape) {
      fail(ErrorKind::kMismatch, kOperation,
           fmt::format("tensor '{}': expected one shape, found [{}] and [{}]",
                       printable(tensor.name), fmt::join(tensor.shape, ", "),
                       fmt::join(other.shape, ", ")));
    }
    double norm = 0;
    Matrix delta = difference(base_, tensor, tuned_, other, norm);
    const double size = squared_norm(delta);
    if (!std::isfinite(size))
      fail(
          ErrorKind::kNumeric, kOperation,
          fmt::format("tensor '{}': expected finite values, found others", printable(tensor.name)));
    if (size == 0) return;
    const bool linear =
        tensor.shape.size() == 2 && tensor.name.ends_with(".weight") && !tells_tokens(tensor.name);
    if (linear) {
      add_module(tensor.name, std::move(delta), size, norm);
    } else {
      keep_whole(other);
    }
  }

  void add_module(const std::string& name, Matrix delta, double size, double norm) {
    LoraFactors factors;
    factors.module = name.substr(0, name.size() - std::string_view(".weight").size());
    if (is_transposed(base_.config(), name)) {
      factors.kind = LoraModule::Kind::kTransposed;
      delta = transposed(delta);
    }
    Svd svd = truncated_svd(linalg_, delta, options_.rank, options_.svd);
    std::size_t rank = std::max<std::size_t>(1, numerical_rank(svd));
    if (options_.energy) rank = std::min(rank, rank_for(svd, size, *options_.energy));
    double kept = 0;
    std::vector<double> roots;
    for (std::size_t k = 0; k < rank; ++k) {
      kept += svd.values[k] * svd.values[k];
      roots.push_back(std::sqrt(svd.values[k]));
    }
    Matrix left = columns_of(svd.left, 0, rank), right = rows_of(svd.right, 0, rank);
    scale_columns(left, roots);
    scale_rows(right, roots);
    factors.rank = static_cast<std::int64_t>(rank);
    factors.d_in = static_cast<std::int64_t>(right.columns);
    factors.d_out = static_cast<std::int64_t>(left.rows);
    factors.a = floats_of(right);
    factors.b = floats_of(left);
    total_ += size;
    kept_ += kept;
    modules_.push_back({{"name", factors.module},
                        {"rank", rank},
                        {"energy", kept / size},
                        {"relative_norm", norm > 0 ? std::sqrt(size) / norm : 0.0}});
    out_.file.modules.push_back(std::move(factors));
  }
};

}  // namespace

Extracted extract_adapter(const Linalg& linalg, const ModelSource& base, const ModelSource& tuned,
                          const ExtractOptions& options) {
  return Extractor(linalg, base, tuned, options).run();
}

}  // namespace lancet
