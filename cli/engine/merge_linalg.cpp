// The linear algebra of merge/linalg.h by LibTorch: LAPACK on the CPU, cuSOLVER on a GPU.
// On the CPU every factorisation runs on one thread and products are cut into fixed runs of rows,
// so that the number of threads does not move a bit.

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <mutex>

#include "cli/engine/engine_impl.h"
#include "core/error.h"
#include "core/parallel.h"
#include "merge/linalg.h"
#include "model/runtime.h"

namespace lancet {
namespace {

constexpr std::size_t kProductRows = 256;  ///< of a product, by one thread at a time

at::Tensor view_of(const Matrix& a) {
  return at::from_blob(const_cast<double*>(a.values.data()),
                       {static_cast<std::int64_t>(a.rows), static_cast<std::int64_t>(a.columns)},
                       at::kDouble);
}

Matrix matrix_of(const at::Tensor& tensor) {
  const at::Tensor here = tensor.to(at::kCPU).contiguous();
  Matrix out(static_cast<std::size_t>(here.size(0)), static_cast<std::size_t>(here.size(1)));
  std::copy_n(here.const_data_ptr<double>(), out.values.size(), out.values.begin());
  return out;
}

std::vector<double> values_of(const at::Tensor& tensor) {
  const at::Tensor here = tensor.to(at::kCPU).contiguous();
  return {here.const_data_ptr<double>(), here.const_data_ptr<double>() + here.numel()};
}

class TorchLinalg final : public Linalg {
 public:
  explicit TorchLinalg(at::Device device) : device_(device) {}

  Matrix multiply(const Matrix& a, const Matrix& b, bool transpose_a,
                  bool transpose_b) const override {
    return guarded("product", [&] {
      const at::Tensor left = transpose_a ? view_of(a).t() : view_of(a);
      const at::Tensor right = transpose_b ? view_of(b).t() : view_of(b);
      if (!device_.is_cpu()) return matrix_of(at::mm(left.to(device_), right.to(device_)));
      Matrix out(static_cast<std::size_t>(left.size(0)), static_cast<std::size_t>(right.size(1)));
      at::Tensor result = view_of(out);
      parallel::for_chunks(out.rows, kProductRows, [&](std::size_t begin, std::size_t end) {
        const c10::InferenceMode inference;
        const OneThread inside;
        const auto from = static_cast<std::int64_t>(begin), to = static_cast<std::int64_t>(end);
        at::Tensor rows = result.slice(0, from, to);
        at::mm_out(rows, left.slice(0, from, to), right);
      });
      return out;
    });
  }

  Svd svd(const Matrix& a) const override {
    return guarded("singular value decomposition", [&] {
      const auto [left, values, right] = at::linalg_svd(moved(a), false);
      return Svd{matrix_of(left), values_of(values), matrix_of(right)};
    });
  }

  Eigen eigen(const Matrix& a) const override {
    return guarded("eigenvalue decomposition", [&] {
      const auto [values, vectors] = at::linalg_eigh(moved(a));
      return Eigen{values_of(values), matrix_of(vectors)};
    });
  }

  Qr qr(const Matrix& a) const override {
    return guarded("QR decomposition", [&] {
      const auto [q, r] = at::linalg_qr(moved(a), "reduced");
      return Qr{matrix_of(q), matrix_of(r)};
    });
  }

  Matrix solve(const Matrix& a, const Matrix& b) const override {
    return guarded("Cholesky solve", [&] {
      const at::Tensor system = moved(a), wanted = moved(b);
      const auto [factor, info] = at::linalg_cholesky_ex(system);
      if (info.item<int>() != 0) {
        fail(ErrorKind::kNumeric, "merge",
             fmt::format("expected a positive definite system of {} equations, found none", a.rows),
             "a larger ridge makes it one");
      }
      at::Tensor x = at::cholesky_solve(wanted, factor);
      x = x + at::cholesky_solve(wanted - at::mm(system, x), factor);  // one step of refinement
      return matrix_of(x);
    });
  }

 private:
  at::Device device_;

  at::Tensor moved(const Matrix& a) const { return view_of(a).to(device_); }

  template <typename F>
  static auto guarded(const char* what, const F& body) -> decltype(body()) {
    try {
      const c10::InferenceMode inference;
      const OneThread inside;
      return body();
    } catch (const c10::Error& error) {
      fail(ErrorKind::kNumeric, "merge",
           fmt::format("{}: {}", what, error.what_without_backtrace()));
    }
  }
};

}  // namespace

const Linalg& EngineImpl::linalg(const RuntimeOptions& runtime) {
  static std::mutex mutex;
  static std::map<std::string, std::unique_ptr<TorchLinalg>> made;
  prepare_runtime(runtime);
  const at::Device device = resolve_device(runtime.device);
  const std::lock_guard lock(mutex);
  std::unique_ptr<TorchLinalg>& own = made[device.str()];
  if (!own) own = std::make_unique<TorchLinalg>(device);
  return *own;
}

}  // namespace lancet
