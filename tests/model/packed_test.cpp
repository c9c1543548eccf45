// Frozen matrices in few bits: products, layers and whole models are those of the decoded matrices,
// bit for bit.
#include <torch/csrc/autograd/autograd.h>

#include <ATen/core/grad_mode.h>

#include "core/parallel.h"
#include "core/rng.h"
#include "formats/quant/decode.h"
#include "formats/quant/fp8.h"
#include "model/linear.h"
#include "model/lora.h"
#include "model/packed_matrix.h"
#include "model/packed_products.h"
#include "model/runtime.h"
#include "tests/catch.h"
#include "tests/model/tiny.h"

using namespace lancet;
using namespace lancet::test;

namespace {

at::Tensor random_matrix(std::int64_t rows, std::int64_t columns, std::uint64_t seed) {
  at::Tensor out = at::empty({rows, columns}, at::kFloat);
  Random(seed, "packed")
      .fill_normal(0, {out.mutable_data_ptr<float>(), static_cast<std::size_t>(out.numel())});
  return out;
}

std::shared_ptr<const PackedMatrix> packed(BaseQuant form, const at::Tensor& w) {
  const auto* from = w.const_data_ptr<float>();
  return std::make_shared<PackedMatrix>(
      form, w.size(0), w.size(1),
      [from, width = w.size(1)](std::int64_t first, std::int64_t last, std::span<float> out) {
        std::copy(from + first * width, from + last * width, out.begin());
      });
}

at::Tensor decoded(const PackedMatrix& matrix) {
  at::Tensor out = at::empty({matrix.rows(), matrix.columns()}, at::kFloat);
  auto* to = out.mutable_data_ptr<float>();
  for (std::int64_t row = 0; row < matrix.rows(); ++row)
    matrix.decode(row, 0,
                  {to + row * matrix.columns(), static_cast<std::size_t>(matrix.columns())});
  return out;
}

const std::vector<BaseQuant> kForms{BaseQuant::kNf4, BaseQuant::kInt8, BaseQuant::kFp8,
                                    BaseQuant::kQ8_0};

Decoder load_packed(const std::string& name, BaseQuant quant) {
  return Decoder::load(ModelSource::open(fs::path(LANCET_TEST_DATA) / "tiny_models" / name),
                       {at::kFloat, at::kCPU, quant});
}

}  // namespace

TEST_CASE("packed: a layer is the layer of its decoded matrix, bit for bit, forward and back") {
  struct Shape {
    std::int64_t out, in, rows;
  };
  // One block and several blocks of each sum; rows on both sides of where kernels change.
  for (const Shape shape : {Shape{48, 64, 3}, Shape{300, 96, 30}, Shape{70, 1504, 40}}) {
    for (const BaseQuant form : kForms) {
      for (const MatrixLayout layout : {MatrixLayout::kOutIn, MatrixLayout::kInOut}) {
        INFO(shape.out << " x " << shape.in << ", form " << static_cast<int>(form));
        const auto matrix = packed(form, random_matrix(shape.out, shape.in, 1));
        const at::Tensor plain = decoded(*matrix);
        const at::Tensor bias =
            random_matrix(1, layout == MatrixLayout::kOutIn ? shape.out : shape.in, 2).view({-1});
        const Linear wide{plain, bias, layout, nullptr, nullptr};
        const Linear small{plain.to(at::kMeta), bias, layout, nullptr, matrix};
        const at::Tensor x = random_matrix(shape.rows, wide.d_in(), 3).requires_grad_(true);
        const at::Tensor a = apply_linear(wide, x), b = apply_linear(small, x);
        CHECK(same_bits(a.detach(), b.detach()));
        const at::Tensor slopes = random_matrix(shape.rows, wide.d_out(), 4);
        CHECK(same_bits(torch::autograd::grad({(a * slopes).sum()}, {x})[0],
                        torch::autograd::grad({(b * slopes).sum()}, {x})[0]));
      }
    }
  }
}

TEST_CASE(
    "packed: threads change no bit, and rows that fill no blocks are refused where they must") {
  const auto matrix = packed(BaseQuant::kNf4, random_matrix(130, 100, 5));
  const Linear layer{decoded(*matrix).to(at::kMeta), {}, MatrixLayout::kOutIn, nullptr, matrix};
  const at::Tensor x = random_matrix(50, 100, 6);
  const at::NoGradGuard no_grad;
  const at::Tensor here = apply_linear(layer, x);
  for (const int threads : {1, 5}) {
    parallel::set_threads(threads);
    init_runtime();
    CHECK(same_bits(here, apply_linear(layer, x)));
  }
  parallel::set_threads(0);
  init_runtime();
  CHECK(error_of([] {
          (void)packed(BaseQuant::kQ8_0, random_matrix(4, 40, 7));
        }).find("whole Q8_0 blocks") != std::string::npos);
}

TEST_CASE("packed: FP8 codes are LibTorch's for every size of value, rows fill the range") {
  at::manual_seed(9);
  at::Tensor x = at::randn({60'000}) * at::pow(2.0, at::randint(-14, 10, {60'000}));
  x = at::cat({x.clamp(-448, 448), at::arange(-448, 449) / 2.0, at::zeros({1}), -at::zeros({1})})
          .to(at::kFloat);
  const at::Tensor theirs = x.to(at::kFloat8_e4m3fn).view(at::kByte);
  const auto* value = x.const_data_ptr<float>();
  const auto* code = theirs.const_data_ptr<std::uint8_t>();
  std::int64_t different = 0;
  for (std::int64_t i = 0; i < x.numel(); ++i) different += encode_fp8(value[i]) != code[i];
  CHECK(different == 0);
  CHECK(encode_fp8(1e30F) == 0x7e);
  CHECK(encode_fp8(-1e30F) == 0xfe);
  CHECK(encode_fp8(std::nanf("")) == 0x7f);
  const at::Tensor w = random_matrix(6, 40, 10);
  const at::Tensor back = decoded(*packed(BaseQuant::kFp8, w));
  CHECK(((back - w).abs() <= w.abs() / 16 + w.abs().amax(1, true) / 448 / 512 + 1e-7)
            .all()
            .item<bool>());
  CHECK(relative(back.abs().amax(1), w.abs().amax(1)) < 1e-6);
  CHECK(decoded(*packed(BaseQuant::kFp8, at::zeros({2, 8}))).abs().max().item<double>() == 0);
}

TEST_CASE("packed: ggml's own blocks are taken as they are") {
  const at::Tensor w = random_matrix(12, 64, 8);
  std::vector<std::byte> bytes(*dtype_bytes(DType::kQ8_0, 12 * 64));
  encode_f32(DType::kQ8_0, {w.const_data_ptr<float>(), 12 * 64}, bytes);
  const PackedMatrix stored(DType::kQ8_0, 12, 64, bytes);
  CHECK(same_bits(decoded(stored), decoded(*packed(BaseQuant::kQ8_0, w))));
  CHECK(stored.bytes() == bytes.size());
  std::vector<float> part(32);
  stored.decode(3, 32, part);
  CHECK(
      std::equal(part.begin(), part.end(), decoded(stored).const_data_ptr<float>() + 3 * 64 + 32));
}

TEST_CASE("packed: a model with a quantised base is the model with the decoded matrices") {
  const at::NoGradGuard no_grad;
  for (const BaseQuant form : {BaseQuant::kNf4, BaseQuant::kInt8, BaseQuant::kFp8}) {
    const Decoder small = load_packed("plain", form);
    Decoder wide = load_tiny("plain");
    for (const LinearModule& module : linear_modules(wide.spec())) {
      const std::string name = module.name + ".weight";
      const at::Tensor matrix = small.matrix(name);
      CHECK(max_abs(matrix, wide.matrix(name)) > 0);
      wide = wide.with_weight(name, matrix);
    }
    const at::Tensor ids = random_ids(2, 9);
    CHECK(same_bits(small.forward(ids), wide.forward(ids)));
    CHECK(small.weight_bytes() < wide.weight_bytes());
  }
}

TEST_CASE("packed: low-rank parts learn on a quantised base as on the decoded one") {
  const Decoder small = load_packed("plain", BaseQuant::kNf4);
  Decoder wide = load_tiny("plain");
  for (const LinearModule& module : linear_modules(wide.spec()))
    wide = wide.with_weight(module.name + ".weight", small.matrix(module.name + ".weight"));
  for (const bool dora : {false, true}) {
    std::vector<at::Tensor> gradients;
    for (const Decoder* base : std::initializer_list<const Decoder*>{&small, &wide}) {
      LoraSettings settings;
      settings.rank = 2;
      settings.dora = dora;
      LoraAdapter adapter(base->spec(), settings, 1);
      adapter.prepare(*base);
      const Decoder model = base->with_low_rank(adapter.by_module());
      model.forward(random_ids(1, 20)).square().sum().backward();
      for (const at::Tensor& each : adapter.parameters()) gradients.push_back(each.grad());
    }
    const std::size_t half = gradients.size() / 2;
    for (std::size_t i = 0; i < half; ++i) {
      if (!gradients[i].defined() || gradients[i].abs().max().item<double>() == 0) continue;
      CHECK(relative(gradients[i], gradients[half + i]) < 1e-4);
    }
  }
}
