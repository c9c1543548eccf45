#include "merge/inner.h"

#include <algorithm>

namespace lancet {
namespace {

class MatrixReader final : public TensorReader {
 public:
  explicit MatrixReader(const Matrix& matrix)
      : TensorReader("factor", {static_cast<std::int64_t>(matrix.rows),
                                static_cast<std::int64_t>(matrix.columns)}),
        matrix_(matrix) {}
  void read(std::uint64_t begin, std::span<double> out) const override {
    std::copy_n(matrix_.values.begin() + static_cast<std::ptrdiff_t>(begin), out.size(),
                out.begin());
  }

 private:
  const Matrix& matrix_;
};

}  // namespace

Matrix merge_matrices(const InnerMerge& inner, const std::string& name,
                      const std::vector<Matrix>& matrices) {
  const Method& method = *inner.method;
  std::vector<std::unique_ptr<MatrixReader>> readers;
  std::vector<TaskModel> models;
  for (std::size_t i = 0; i < matrices.size(); ++i) {
    readers.push_back(std::make_unique<MatrixReader>(matrices[i]));
    models.push_back({readers.back().get(), std::to_string(i), {}});
    for (const MergeParameter& each : method.parameters)
      models.back().values.push_back(inner.value(each, i));
  }
  std::vector<double> of_tensor;
  for (const MergeParameter& each : method.parameters) of_tensor.push_back(inner.value(each, 0));
  const Matrix nothing(matrices[0].rows, matrices[0].columns);
  const MatrixReader zero(nothing);
  MergeTask task(method, name, std::move(models), &zero, of_tensor, inner.semantics, inner.seed);
  task.set_context({.linalg = inner.linalg, .embedding = false, .transposed = false, .survey = {}});
  Matrix out(matrices[0].rows, matrices[0].columns);
  task.emit_values(method.prepare(task), 0, out.values);
  return out;
}

}  // namespace lancet
