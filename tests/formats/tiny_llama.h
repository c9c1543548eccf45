#pragma once
// A Llama of 2 layers with known values, as a Hugging Face model: d_model 32, 4 heads and 2 key
// heads of 8, d_ff 64, vocab 20 with a byte-level BPE tokenizer.json.

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "core/json.h"
#include "formats/containers/safetensors.h"

namespace lancet::tiny {

inline constexpr std::int64_t kModel = 32, kHeads = 4, kKvHeads = 2, kHeadDim = 8, kFf = 64,
                              kVocab = 20, kLayers = 2;

/// Value of element i of a tensor: different for every tensor and element, exact in bfloat16.
inline float value(std::size_t tensor, std::size_t i) {
  return static_cast<float>((i * 37 + tensor * 11) % 251) / 128.0F - 1.0F;
}

struct Spec {
  std::string name;
  std::vector<std::int64_t> shape;
};

inline std::vector<Spec> specs(bool tied = true) {
  std::vector<Spec> out = {{"model.embed_tokens.weight", {kVocab, kModel}}};
  for (int layer = 0; layer < kLayers; ++layer) {
    const std::string at = "model.layers." + std::to_string(layer) + ".";
    out.push_back({at + "input_layernorm.weight", {kModel}});
    out.push_back({at + "self_attn.q_proj.weight", {kHeads * kHeadDim, kModel}});
    out.push_back({at + "self_attn.k_proj.weight", {kKvHeads * kHeadDim, kModel}});
    out.push_back({at + "self_attn.v_proj.weight", {kKvHeads * kHeadDim, kModel}});
    out.push_back({at + "self_attn.o_proj.weight", {kModel, kHeads * kHeadDim}});
    out.push_back({at + "post_attention_layernorm.weight", {kModel}});
    out.push_back({at + "mlp.gate_proj.weight", {kFf, kModel}});
    out.push_back({at + "mlp.up_proj.weight", {kFf, kModel}});
    out.push_back({at + "mlp.down_proj.weight", {kModel, kFf}});
  }
  out.push_back({"model.norm.weight", {kModel}});
  if (!tied) out.push_back({"lm_head.weight", {kVocab, kModel}});
  return out;
}

inline std::vector<float> values(std::size_t tensor, const std::vector<std::int64_t>& shape) {
  std::size_t count = 1;
  for (const auto dim : shape) count *= static_cast<std::size_t>(dim);
  std::vector<float> out(count);
  for (std::size_t i = 0; i < count; ++i) out[i] = value(tensor, i);
  return out;
}

/// Emits in three uneven pieces.
inline OutputTensor output(const std::string& name, std::vector<std::int64_t> shape,
                           std::vector<float> data) {
  return {name, DType::kF32, std::move(shape),
          [data = std::move(data)](const std::function<void(Bytes)>& emit) {
            const Bytes bytes = std::as_bytes(std::span(data));
            const std::size_t first = bytes.size() / 3 + 1;
            emit(bytes.first(first));
            emit(bytes.subspan(first, 1));
            emit(bytes.subspan(first + 1));
          }};
}

inline std::vector<OutputTensor> tensors(bool tied = true) {
  std::vector<OutputTensor> out;
  const auto all = specs(tied);
  for (std::size_t t = 0; t < all.size(); ++t)
    out.push_back(output(all[t].name, all[t].shape, values(t, all[t].shape)));
  return out;
}

inline Json config(bool tied = true) {
  return Json::parse(
      R"({"architectures":["LlamaForCausalLM"],"model_type":"llama","vocab_size":20,"hidden_size":32,
    "intermediate_size":64,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":8,
    "max_position_embeddings":128,"hidden_act":"silu","rms_norm_eps":1e-05,"rope_theta":10000.0,
    "bos_token_id":1,"eos_token_id":2,"dtype":"float32","torch_dtype":"float32","tie_word_embeddings":)" +
      std::string(tied ? "true}" : "false}"));
}

inline Json tokenizer() {
  return Json::parse(R"({"version":"1.0","truncation":null,"padding":null,
    "added_tokens":[{"id":0,"content":"<unk>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true},
      {"id":1,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true},
      {"id":2,"content":"</s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true},
      {"id":17,"content":"<tool>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":false}],
    "normalizer":null,
    "pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},
      {"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}]},
    "post_processor":null,
    "decoder":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true},
    "model":{"type":"BPE","dropout":null,"unk_token":"<unk>","continuing_subword_prefix":null,"end_of_word_suffix":null,
      "fuse_unk":false,"byte_fallback":false,
      "vocab":{"<unk>":0,"<s>":1,"</s>":2,"a":3,"b":4,"c":5,"Ġ":6,"1":7,"2":8,"t":9,"h":10,"e":11,"th":12,"the":13,"Ġt":14,"ab":15,"Ġthe":16},
      "merges":["t h","th e","Ġ t","a b","Ġ the"]}})");
}

/// Side files of the directory.
inline std::map<std::string, std::string> side_files(bool tied = true) {
  return {
      {"config.json", dump_json(config(tied))},
      {"tokenizer.json", dump_json(tokenizer())},
      {"tokenizer_config.json", R"({"tokenizer_class":"PreTrainedTokenizerFast","bos_token":"<s>",
             "eos_token":{"content":"</s>"},"unk_token":"<unk>"})"},
      {"chat_template.jinja", "{{ messages[0].content }}"}};
}

}  // namespace lancet::tiny
