#include "model/names.h"

namespace lancet {
namespace {

/// Collects the tensors of one spec.
class Collector {
 public:
  explicit Collector(const DecoderSpec& spec) : spec_(spec) {}

  void matrix(const std::string& name, std::int64_t out, std::int64_t in, bool bias) {
    if (spec_.layout == MatrixLayout::kOutIn) {
      tensors_.push_back({name + ".weight", {out, in}});
    } else {
      tensors_.push_back({name + ".weight", {in, out}});
    }
    if (bias) tensors_.push_back({name + ".bias", {out}});
  }

  void table(const std::string& name, std::int64_t rows, std::int64_t width) {
    tensors_.push_back({name + ".weight", {rows, width}});
  }

  void norm(const std::string& name, std::int64_t width) {
    tensors_.push_back({name + ".weight", {width}});
    if (spec_.norm.kind == NormKind::kLayer) tensors_.push_back({name + ".bias", {width}});
  }

  void block(std::int64_t layer) {
    const NameSpec& names = spec_.names;
    const AttentionSpec& a = spec_.attention;
    const auto at = [layer](const std::string& pattern) { return layer_name(pattern, layer); };
    norm(at(names.attn_norm), spec_.d_model);
    matrix(at(names.q), a.heads * a.d_head, spec_.d_model, a.qkv_bias);
    matrix(at(names.k), a.kv_heads * a.d_head, spec_.d_model, a.qkv_bias);
    matrix(at(names.v), a.kv_heads * a.d_head, spec_.d_model, a.qkv_bias);
    if (a.qk_norm) {
      norm(at(names.q_norm), a.d_head);
      norm(at(names.k_norm), a.d_head);
    }
    matrix(at(names.o), spec_.d_model, a.heads * a.d_head, a.out_bias);
    norm(at(names.mlp_norm), spec_.d_model);
    if (spec_.mlp.gated) matrix(at(names.gate), spec_.mlp.d_ff, spec_.d_model, spec_.mlp.bias);
    matrix(at(names.up), spec_.mlp.d_ff, spec_.d_model, spec_.mlp.bias);
    matrix(at(names.down), spec_.d_model, spec_.mlp.d_ff, spec_.mlp.bias);
  }

  [[nodiscard]] std::vector<ExpectedTensor> take() { return std::move(tensors_); }

 private:
  const DecoderSpec& spec_;
  std::vector<ExpectedTensor> tensors_;
};

}  // namespace

std::string layer_name(std::string_view pattern, std::int64_t layer) {
  std::string out(pattern);
  const auto at = out.find("{}");
  if (at != std::string::npos) out.replace(at, 2, std::to_string(layer));
  return out;
}

std::vector<ExpectedTensor> expected_tensors(const DecoderSpec& spec) {
  Collector collect(spec);
  collect.table(spec.names.embed, spec.vocab, spec.d_model);
  for (std::int64_t layer = 0; layer < spec.layers; ++layer) collect.block(layer);
  collect.norm(spec.names.final_norm, spec.d_model);
  if (!spec.tied_head) collect.table(spec.names.head, spec.vocab, spec.d_model);
  return collect.take();
}

}  // namespace lancet
