// How names are written: holes, patterns, spellings of older files.

#include "model/names.h"

namespace lancet {
namespace {

/// Every name of a spec.
std::vector<std::string*> all_names(NameSpec& n) {
  return {&n.embed,
          &n.positions,
          &n.embed_norm,
          &n.project_in,
          &n.project_out,
          &n.final_norm,
          &n.head,
          &n.attn_norm,
          &n.attn_post_norm,
          &n.attn_add_norm,
          &n.q,
          &n.k,
          &n.v,
          &n.qkv,
          &n.o,
          &n.q_norm,
          &n.k_norm,
          &n.sinks,
          &n.q_a,
          &n.q_a_norm,
          &n.q_b,
          &n.kv_a,
          &n.kv_a_norm,
          &n.kv_b,
          &n.mlp_norm,
          &n.mlp_post_norm,
          &n.mlp_add_norm,
          &n.mlp.gate,
          &n.mlp.up,
          &n.mlp.gate_up,
          &n.mlp.down,
          &n.expert.gate,
          &n.expert.up,
          &n.expert.gate_up,
          &n.expert.down,
          &n.shared.gate,
          &n.shared.up,
          &n.shared.gate_up,
          &n.shared.down,
          &n.router,
          &n.correction,
          &n.shared_gate,
          &n.ssm.in,
          &n.ssm.conv,
          &n.ssm.x,
          &n.ssm.dt,
          &n.ssm.a_log,
          &n.ssm.d,
          &n.ssm.dt_bias,
          &n.ssm.out,
          &n.ssm.dt_norm,
          &n.ssm.b_norm,
          &n.ssm.c_norm,
          &n.ssm.norm};
}

bool matches(std::string_view pattern, std::string_view text) {
  const std::size_t hole = pattern.find("{}");
  if (hole == std::string_view::npos) return pattern == text;
  if (!text.starts_with(pattern.substr(0, hole))) return false;
  for (std::size_t end = hole; end <= text.size(); ++end) {
    if (matches(pattern.substr(hole + 2), text.substr(end))) return true;
  }
  return false;
}

}  // namespace

std::string layer_name(std::string_view pattern, std::int64_t layer, std::int64_t second) {
  std::string out(pattern);
  std::size_t from = 0;
  for (const std::int64_t number : {layer, second}) {
    const auto at = out.find("{}", from);
    if (at == std::string::npos) break;
    const std::string text = std::to_string(number);
    out.replace(at, 2, text);
    from = at + text.size();
  }
  return out;
}

bool is_ignored(const DecoderSpec& spec, std::string_view name) {
  for (const std::string& pattern : spec.ignored) {
    if (matches(pattern, name)) return true;
  }
  return false;
}

std::string respelled(std::string name, const Respelling& respelling) {
  for (const auto& [from, to] : respelling) {
    if (name.starts_with(from)) return name.replace(0, from.size(), to);
  }
  return name;
}

void respell(DecoderSpec& spec, const Respelling& respelling) {
  for (std::string* name : all_names(spec.names)) *name = respelled(*name, respelling);
  for (std::string& name : spec.ignored) name = respelled(name, respelling);
}

void add_prefix(DecoderSpec& spec, std::string_view prefix) {
  for (std::string* name : all_names(spec.names)) {
    if (!name->empty()) name->insert(0, prefix);
  }
  for (std::string& name : spec.ignored) name.insert(0, prefix);
}

}  // namespace lancet
