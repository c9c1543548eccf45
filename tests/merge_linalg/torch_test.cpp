// The engine's linear algebra against the plain one of the tests, and the methods on it.
#include <ATen/Context.h>

#include "cli/engine.h"
#include "core/parallel.h"
#include "tests/merge/memory.h"
#include "tests/torch_catch.h"

extern "C" lancet::Engine* lancet_engine_instance();

using namespace lancet;
using namespace lancet::test;

namespace {

const Linalg& engine(const std::string& device = "cpu", int threads = 0) {
  RuntimeOptions runtime;
  runtime.device = device;
  runtime.threads = threads;
  return lancet_engine_instance()->linalg(runtime);
}

Matrix random_matrix(std::size_t rows, std::size_t columns, unsigned seed) {
  Matrix out(rows, columns);
  out.values = random_values(rows * columns, seed);
  return out;
}

double distance(const Matrix& a, const Matrix& b) {
  REQUIRE(a.rows == b.rows);
  REQUIRE(a.columns == b.columns);
  double out = 0;
  for (std::size_t i = 0; i < a.values.size(); ++i)
    out = std::max(out, std::fabs(a.values[i] - b.values[i]));
  return out;
}

Matrix identity(std::size_t n) {
  Matrix out(n, n);
  for (std::size_t i = 0; i < n; ++i) out.at(i, i) = 1;
  return out;
}

Matrix rebuilt(Svd svd) {
  scale_columns(svd.left, svd.values);
  return jacobi().multiply(svd.left, svd.right, false, false);
}

/// Every operation against the plain one, on one shape.
void compare(const Linalg& linalg, std::size_t rows, std::size_t columns) {
  INFO(rows << " x " << columns);
  const Matrix a = random_matrix(rows, columns, 1), b = random_matrix(columns, 5, 2);
  CHECK(distance(linalg.multiply(a, b), jacobi().multiply(a, b, false, false)) < 1e-12);
  CHECK(distance(linalg.multiply(a, a, true), jacobi().multiply(a, a, true, false)) < 1e-11);
  CHECK(distance(linalg.multiply(a, a, false, true), jacobi().multiply(a, a, false, true)) < 1e-11);
  const Svd svd = linalg.svd(a), plain = jacobi().svd(a);
  CHECK(distance(rebuilt(svd), a) < 1e-12);
  for (std::size_t k = 0; k < plain.values.size(); ++k)
    CHECK(svd.values[k] == Approx(plain.values[k]).epsilon(1e-11));
  const Qr qr = linalg.qr(a);
  CHECK(distance(linalg.multiply(qr.q, qr.r), a) < 1e-12);
  CHECK(distance(linalg.multiply(qr.q, qr.q, true), identity(qr.q.columns)) < 1e-13);
  Matrix square = linalg.multiply(a, a, true);
  for (std::size_t i = 0; i < columns; ++i) square.at(i, i) += 1;
  CHECK(distance(linalg.multiply(square, linalg.solve(square, b)), b) < 1e-11);
  const Eigen eigen = linalg.eigen(square), slow = jacobi().eigen(square);
  for (std::size_t k = 0; k < columns; ++k)
    CHECK(eigen.values[k] == Approx(slow.values[k]).epsilon(1e-9));
  Matrix turned = eigen.vectors;
  scale_columns(turned, eigen.values);
  CHECK(distance(linalg.multiply(turned, eigen.vectors, false, true), square) < 1e-10);
}

std::vector<const Method*> spectral_methods() {
  std::vector<const Method*> out;
  for (const Method* method : merge_method_registry()) {
    if (method->needs_linalg) out.push_back(method);
  }
  REQUIRE(out.size() >= 5);
  return out;
}

TensorMerge example(const Method& method, std::vector<std::int64_t> shape, const Linalg& linalg) {
  TensorMerge merge{.method = std::string(method.name), .shape = std::move(shape)};
  const auto n = static_cast<std::size_t>(merge.shape[0] * merge.shape[1]);
  merge.base = random_values(n, 1, .02);
  for (unsigned i = 0; i < 3; ++i) merge.models.push_back(random_values(n, 2 + i, .02));
  if (!method.flat_spectrum) {
    merge.post.svc = 1;
    merge.post.boost = .1;
  }
  merge.linalg = &linalg;
  return merge;
}

}  // namespace

TEST_CASE("linalg: LibTorch's factorisations equal the plain ones on tall, wide and square") {
  compare(engine(), 30, 12);
  compare(engine(), 12, 30);
  compare(engine(), 17, 17);
  compare(engine(), 1, 6);
}

TEST_CASE("linalg: a system that is not positive definite is refused") {
  Matrix a = identity(3);
  a.at(1, 1) = -1;
  const auto error = error_of([&] { static_cast<void>(engine().solve(a, identity(3))); });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kNumeric);
}

TEST_CASE("spectral methods: LibTorch and the plain algebra give the same merge") {
  for (const Method* method : spectral_methods()) {
    INFO(method->name);
    TensorMerge merge = example(*method, {37, 61}, engine());
    const Values found = merge.run();
    merge.linalg = &jacobi();
    const Values expected = merge.run();
    for (std::size_t i = 0; i < found.size(); ++i)
      REQUIRE(found[i] == Approx(expected[i]).margin(1e-11));
  }
}

TEST_CASE("spectral methods: the number of threads does not move a bit", "[slow]") {
  for (const Method* method : spectral_methods()) {
    INFO(method->name);
    // Wide enough for the blocked and threaded paths of a LAPACK, and for random ranges.
    TensorMerge merge = example(*method, {640, 700}, engine("cpu", 1));
    const Values one = merge.run();
    for (const int threads : {2, 3}) {
      static_cast<void>(engine("cpu", threads));
      CHECK(merge.run() == one);
    }
  }
  static_cast<void>(engine("cpu", 0));
}

TEST_CASE("spectral methods: a GPU gives the same merge to 1e-9 of the largest change") {
  if (!at::hasCUDA()) {
    WARN("SKIPPED: no GPU");
    return;
  }
  for (const Method* method : spectral_methods()) {
    INFO(method->name);
    TensorMerge merge = example(*method, {300, 420}, engine("cuda"));
    const Values found = merge.run();
    merge.linalg = &engine("cpu");
    const Values expected = merge.run();
    for (std::size_t i = 0; i < found.size(); ++i)
      REQUIRE(found[i] == Approx(expected[i]).margin(1e-9));
  }
}
