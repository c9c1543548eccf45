// Tensor names of GGUF and transformers, and the order of query and key rows.

#include "formats/names/name_map.h"

#include <set>

#include "tests/catch.h"

namespace lancet {

TEST_CASE("names: the tensors of a Llama are called as transformers and llama.cpp call them",
          "[names]") {
  const NameFamily& llama = *family_of_gguf("llama");
  const auto hf = [&](const char* name) { return gguf_to_hf_name(llama, name)->name; };
  CHECK(hf("token_embd.weight") == "model.embed_tokens.weight");
  CHECK(hf("output.weight") == "lm_head.weight");
  CHECK(hf("output_norm.weight") == "model.norm.weight");
  CHECK(hf("blk.0.attn_q.weight") == "model.layers.0.self_attn.q_proj.weight");
  CHECK(hf("blk.29.attn_output.weight") == "model.layers.29.self_attn.o_proj.weight");
  CHECK(hf("blk.117.ffn_norm.weight") == "model.layers.117.post_attention_layernorm.weight");
  CHECK(hf("blk.3.attn_k.bias") == "model.layers.3.self_attn.k_proj.bias");
  CHECK(gguf_to_hf_name(llama, "blk.0.attn_q.weight")->rows == RowOrder::kQueryHeads);
  CHECK(gguf_to_hf_name(llama, "blk.0.attn_k.bias")->rows == RowOrder::kKeyHeads);
  CHECK(gguf_to_hf_name(llama, "blk.0.attn_v.weight")->rows == RowOrder::kSame);
}

TEST_CASE("names: every rule of every family leads there and back", "[names]") {
  for (const char* architecture : {"llama", "qwen2", "qwen3"}) {
    const NameFamily& family = *family_of_gguf(architecture);
    CHECK(family_of_model_type(family.hf_types.front()) == &family);
    std::set<std::string> names;
    for (const NameRule& rule : family.rules) {
      std::string gguf(rule.gguf);
      if (const auto hole = gguf.find("{}"); hole != std::string::npos) gguf.replace(hole, 2, "12");
      gguf += ".weight";
      const auto hf = gguf_to_hf_name(family, gguf);
      REQUIRE(hf);
      CHECK(hf_to_gguf_name(family, hf->name)->name == gguf);
      CHECK(hf_to_gguf_name(family, hf->name)->rows == rule.rows);
      CHECK(names.insert(hf->name).second);
    }
  }
}

TEST_CASE("names: what no rule knows has no name", "[names]") {
  const NameFamily& llama = *family_of_gguf("llama");
  for (const char* name :
       {"", ".weight", "token_embd", "token_embd.scale", "blk..attn_q.weight",
        "blk.00.attn_q.weight", "blk.-1.attn_q.weight", "blk.1x.attn_q.weight",
        "blk.9999999.attn_q.weight", "blk.0.ffn_gate_exps.weight", "xtoken_embd.weight"}) {
    INFO(name);
    CHECK_FALSE(gguf_to_hf_name(llama, name));
  }
  CHECK(family_of_gguf("unheard-of") == nullptr);
  CHECK(family_of_model_type("gpt2") == nullptr);
}

TEST_CASE("names: GGUF row 2i + j of a head is row j * D/2 + i of transformers, and back",
          "[names]") {
  constexpr std::int64_t kHeads = 3, kDim = 8;
  for (std::int64_t head = 0; head < kHeads; ++head) {
    for (std::int64_t i = 0; i < kDim / 2; ++i) {
      for (std::int64_t j = 0; j < 2; ++j) {
        CHECK(gguf_row(head * kDim + j * (kDim / 2) + i, kDim) == head * kDim + 2 * i + j);
        CHECK(hf_row(head * kDim + 2 * i + j, kDim) == head * kDim + j * (kDim / 2) + i);
      }
    }
  }
}

}  // namespace lancet
