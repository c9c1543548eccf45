#include "model/names.h"

#include <utility>

namespace lancet {
namespace {

/// Collects the tensors of one spec.
class Collector {
 public:
  explicit Collector(const DecoderSpec& spec) : spec_(spec) {}

  void ends_before() {
    const NameSpec& names = spec_.names;
    const std::int64_t width = spec_.d_embed == 0 ? spec_.d_model : spec_.d_embed;
    table(names.embed, spec_.vocab, width);
    if (!names.positions.empty())
      table(names.positions, spec_.max_positions + spec_.position_offset, spec_.d_model);
    if (!names.embed_norm.empty()) norm(names.embed_norm, spec_.norm, spec_.d_model);
    if (!names.project_in.empty()) table(names.project_in, spec_.d_model, width);
  }

  void ends_after() {
    owner_ = -1;
    const NameSpec& names = spec_.names;
    const std::int64_t width = spec_.d_embed == 0 ? spec_.d_model : spec_.d_embed;
    if (!names.final_norm.empty()) norm(names.final_norm, spec_.norm, spec_.d_model);
    if (!names.project_out.empty()) table(names.project_out, width, spec_.d_model);
    if (!spec_.tied_head) table(names.head, spec_.vocab, width);
    if (spec_.head_bias) tensors_.push_back({names.head + ".bias", {spec_.vocab}});
  }

  void block(std::int64_t layer) {
    layer_ = owner_ = layer;
    const NameSpec& names = spec_.names;
    block_norm(names.attn_norm);
    const LayerSpec& each = spec_.layer[static_cast<std::size_t>(layer)];
    if (each.ssm) {
      state_space();
    } else if (spec_.attention.latent) {
      latent_attention();
    } else {
      attention();
    }
    block_norm(names.attn_post_norm);
    block_norm(names.attn_add_norm);
    if (names.mlp_norm != names.attn_norm) block_norm(names.mlp_norm);
    if (each.moe) {
      experts();
    } else if (each.mlp) {
      mlp(names.mlp, 0, spec_.mlp.d_ff, spec_.mlp.bias);
    }
    block_norm(names.mlp_post_norm);
    block_norm(names.mlp_add_norm);
  }

  [[nodiscard]] std::vector<ExpectedTensor> take() { return std::move(tensors_); }

 private:
  void add(const std::string& pattern, std::string_view suffix, std::vector<std::int64_t> shape) {
    tensors_.push_back({layer_name(pattern, layer_).append(suffix), std::move(shape), owner_});
  }

  void matrix(const std::string& name, std::int64_t out, std::int64_t in, bool bias) {
    if (spec_.layout == MatrixLayout::kOutIn) {
      add(name, ".weight", {out, in});
    } else {
      add(name, ".weight", {in, out});
    }
    if (bias) add(name, ".bias", {out});
  }

  void table(const std::string& name, std::int64_t rows, std::int64_t width) {
    tensors_.push_back({name + ".weight", {rows, width}});
  }

  void norm(const std::string& name, const NormSpec& spec, std::int64_t width) {
    if (spec.weight) add(name, ".weight", {width});
    if (spec.kind == NormKind::kLayer && spec.bias) add(name, ".bias", {width});
  }

  void block_norm(const std::string& pattern) {
    if (!pattern.empty()) norm(pattern, spec_.norm, spec_.d_model);
  }

  void qk_norm(const std::string& pattern, std::int64_t heads) {
    const AttentionSpec& a = spec_.attention;
    const NormSpec& norm_spec = a.qk_norm_spec;
    if (a.qk_norm == QkNormWidth::kNone || pattern.empty()) return;
    if (a.qk_norm != QkNormWidth::kEachHead) {
      norm(pattern, norm_spec, a.qk_norm == QkNormWidth::kHead ? a.d_head : heads * a.d_head);
    } else if (pattern.find("{}") == pattern.rfind("{}")) {
      add(pattern, ".weight", {heads, a.d_head});
      if (norm_spec.kind == NormKind::kLayer && norm_spec.bias)
        add(pattern, ".bias", {heads, a.d_head});
    } else {
      for (std::int64_t h = 0; h < heads; ++h)
        norm(layer_name(pattern, layer_, h), norm_spec, a.d_head);
    }
  }

  void attention() {
    const NameSpec& names = spec_.names;
    const AttentionSpec& a = spec_.attention;
    if (a.qkv == QkvLayout::kSeparate) {
      matrix(names.q, a.heads * a.d_head, spec_.d_model, a.qkv_bias);
      matrix(names.k, a.kv_heads * a.d_head, spec_.d_model, a.qkv_bias);
      matrix(names.v, a.kv_heads * a.d_head, spec_.d_model, a.qkv_bias);
    } else {
      matrix(names.qkv, (a.heads + 2 * a.kv_heads) * a.d_head, spec_.d_model, a.qkv_bias);
    }
    qk_norm(names.q_norm, a.heads);
    qk_norm(names.k_norm, a.kv_heads);
    if (a.sinks) add(names.sinks, "", {a.heads});
    matrix(names.o, spec_.d_model, a.heads * a.d_head, a.out_bias);
  }

  void latent_attention() {
    const NameSpec& names = spec_.names;
    const AttentionSpec& a = spec_.attention;
    const LatentSpec& mla = a.mla;
    if (mla.q_rank == 0) {
      matrix(names.q, a.heads * a.d_head, spec_.d_model, false);
    } else {
      matrix(names.q_a, mla.q_rank, spec_.d_model, mla.bias);
      norm(names.q_a_norm, mla.norm, mla.q_rank);
      matrix(names.q_b, a.heads * a.d_head, mla.q_rank, false);
    }
    matrix(names.kv_a, mla.kv_rank + mla.d_rope, spec_.d_model, mla.bias);
    norm(names.kv_a_norm, mla.norm, mla.kv_rank);
    matrix(names.kv_b, a.heads * (mla.d_plain + mla.d_value), mla.kv_rank, false);
    matrix(names.o, spec_.d_model, a.heads * mla.d_value, a.out_bias);
  }

  void state_space() {
    const SsmNames& names = spec_.names.ssm;
    const SsmSpec& ssm = spec_.ssm;
    const bool first = ssm.kind == SsmKind::kMamba1;
    const std::int64_t gate = first ? ssm.width() : ssm.width() + ssm.heads;
    matrix(names.in, ssm.conv_width() + gate, spec_.d_model, ssm.bias);
    add(names.conv, ".weight", {ssm.conv_width(), 1, ssm.d_conv});
    if (ssm.conv_bias) add(names.conv, ".bias", {ssm.conv_width()});
    if (first) {
      matrix(names.x, ssm.dt_rank + 2 * ssm.d_state, ssm.width(), false);
      matrix(names.dt, ssm.width(), ssm.dt_rank, true);
      add(names.a_log, "", {ssm.width(), ssm.d_state});
    } else {
      add(names.dt_bias, "", {ssm.heads});
      add(names.a_log, "", {ssm.heads});
      norm(names.norm, ssm.norm, ssm.width());
    }
    if (ssm.inner_norms) {
      norm(names.dt_norm, ssm.norm, ssm.dt_rank);
      norm(names.b_norm, ssm.norm, ssm.d_state);
      norm(names.c_norm, ssm.norm, ssm.d_state);
    }
    add(names.d, "", {ssm.heads});
    matrix(names.out, spec_.d_model, ssm.width(), ssm.bias);
  }

  void mlp(const MlpNames& names, std::int64_t expert, std::int64_t d_ff, bool bias) {
    const auto at = [&](const std::string& pattern) { return layer_name(pattern, layer_, expert); };
    if (!names.gate_up.empty()) {
      matrix(at(names.gate_up), 2 * d_ff, spec_.d_model, bias);
    } else {
      if (spec_.mlp.gated) matrix(at(names.gate), d_ff, spec_.d_model, bias);
      matrix(at(names.up), d_ff, spec_.d_model, bias);
    }
    matrix(at(names.down), spec_.d_model, d_ff, bias);
  }

  void stacked(const std::string& name, std::int64_t out, std::int64_t in) {
    const MoeSpec& moe = spec_.moe;
    const bool out_in = moe.matrix == MatrixLayout::kOutIn;
    add(name, "", {moe.experts, out_in ? out : in, out_in ? in : out});
    if (moe.bias) add(name, "_bias", {moe.experts, out});
  }

  void experts() {
    const NameSpec& names = spec_.names;
    const MoeSpec& moe = spec_.moe;
    matrix(names.router, moe.experts, spec_.d_model, moe.router_bias);
    if (moe.correction) add(names.correction, "", {moe.experts});
    if (moe.layout == ExpertLayout::kStacked) {
      stacked(names.expert.gate_up, 2 * moe.d_ff, spec_.d_model);
      stacked(names.expert.down, spec_.d_model, moe.d_ff);
    } else {
      for (std::int64_t e = 0; e < moe.experts; ++e) mlp(names.expert, e, moe.d_ff, moe.bias);
    }
    if (moe.shared_d_ff > 0) mlp(names.shared, 0, moe.shared_d_ff, false);
    if (moe.shared_gate) matrix(names.shared_gate, 1, spec_.d_model, false);
  }

  const DecoderSpec& spec_;
  std::int64_t layer_ = 0, owner_ = -1;
  std::vector<ExpectedTensor> tensors_;
};

}  // namespace

std::vector<ExpectedTensor> expected_tensors(const DecoderSpec& spec) {
  Collector collect(spec);
  collect.ends_before();
  for (std::int64_t layer = 0; layer < spec.layers; ++layer) collect.block(layer);
  collect.ends_after();
  return collect.take();
}

std::vector<ExpectedTensor> block_tensors(const DecoderSpec& spec, std::int64_t layer) {
  Collector collect(spec);
  collect.block(layer);
  return collect.take();
}

}  // namespace lancet
