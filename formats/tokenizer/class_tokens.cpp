// special_tokens of formats/tokenizer/declared_tokens.h: the tokens that transformers' tokenizer
// classes have where no file names them (defaults of their constructors, 5.17).
#include <algorithm>
#include <array>

#include "formats/tokenizer/declared_tokens.h"

namespace lancet {
namespace {

struct ClassTokens {
  std::string_view name;
  std::string_view bos, eos, unk, sep = {}, pad = {}, cls = {}, mask = {};
};

constexpr std::string_view kEnd = "<|endoftext|>";
constexpr std::array kClasses = {
    ClassTokens{"LlamaTokenizer", "<s>", "</s>", "<unk>"},
    ClassTokens{"CodeLlamaTokenizer", "<s>", "</s>", "<unk>"},
    ClassTokens{"GemmaTokenizer", "<bos>", "<eos>", "<unk>", "", "<pad>", "", "<mask>"},
    ClassTokens{"GPT2Tokenizer", kEnd, kEnd, kEnd},
    ClassTokens{"Qwen2Tokenizer", "", kEnd, kEnd, "", kEnd},
    ClassTokens{"Qwen3_5Tokenizer", "", kEnd, kEnd, "", kEnd},
    ClassTokens{"GPTNeoXTokenizer", kEnd, kEnd, kEnd, "", "<|padding|>"},
    ClassTokens{"CohereTokenizer", "<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>", "<UNK>", "<SEP>",
                "<PAD>", "<CLS>", "<MASK_TOKEN>"},
    ClassTokens{"BertTokenizer", "", "", "[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"},
    ClassTokens{"RobertaTokenizer", "<s>", "</s>", "<unk>", "</s>", "<pad>", "<s>", "<mask>"},
    ClassTokens{"XLMRobertaTokenizer", "<s>", "</s>", "<unk>", "</s>", "<pad>", "<s>", "<mask>"},
    ClassTokens{"T5Tokenizer", "", "</s>", "<unk>", "", "<pad>"},
};

/// The class that transformers has for an architecture: "" is the one without tokens of its own,
/// which then stands before the class that the files name.
struct Registered {
  std::string_view model_type, name;
};
constexpr std::array kRegistered = {
    Registered{"qwen2", "Qwen2Tokenizer"},
    Registered{"qwen2_moe", "Qwen2Tokenizer"},
    Registered{"qwen3", "Qwen2Tokenizer"},
    Registered{"qwen3_moe", "Qwen2Tokenizer"},
    Registered{"gemma", "GemmaTokenizer"},
    Registered{"gemma2", "GemmaTokenizer"},
    Registered{"gemma3", "GemmaTokenizer"},
    Registered{"gemma3_text", "GemmaTokenizer"},
    Registered{"gpt2", "GPT2Tokenizer"},
    Registered{"gptj", "GPT2Tokenizer"},
    Registered{"phi", "GPT2Tokenizer"},
    Registered{"opt", "GPT2Tokenizer"},
    Registered{"starcoder2", "GPT2Tokenizer"},
    Registered{"gpt_neox", "GPTNeoXTokenizer"},
    Registered{"mamba", "GPTNeoXTokenizer"},
    Registered{"mamba2", "GPTNeoXTokenizer"},
    Registered{"olmo", "GPTNeoXTokenizer"},
    Registered{"mpt", "GPTNeoXTokenizer"},
    Registered{"cohere", "CohereTokenizer"},
    Registered{"cohere2", "CohereTokenizer"},
    Registered{"mistral", ""},
    Registered{"mixtral", ""},
    Registered{"stablelm", ""},
    Registered{"granite", ""},
    Registered{"phi3", ""},
    Registered{"deepseek_v2", ""},
    Registered{"deepseek_v3", ""},
    Registered{"chameleon", ""},
    Registered{"olmo2", ""},
    Registered{"jamba", ""},
    Registered{"nemotron", ""},
    Registered{"glm4", ""},
};

std::string class_of(const Json& config, std::string_view model_type) {
  const auto named = config.find("tokenizer_class");
  std::string own = named != config.end() && named->is_string() ? named->get<std::string>() : "";
  if (own.ends_with("Fast")) own.resize(own.size() - 4);
  const auto found = std::ranges::find(kRegistered, model_type, &Registered::model_type);
  if (found == kRegistered.end()) return own;
  // Qwen2's files are known to name wrong classes.
  const bool stands_first = found->name.empty() || model_type == "qwen2";
  return own.empty() || stands_first ? std::string(found->name) : own;
}

}  // namespace

Json special_tokens(const DeclaredTokens& declared, std::string_view model_type) {
  Json out = Json::object();
  const auto own =
      std::ranges::find(kClasses, class_of(declared.config, model_type), &ClassTokens::name);
  if (own != kClasses.end()) {
    const auto put = [&](const char* role, std::string_view token) {
      if (!token.empty()) out[role] = token;
    };
    put("bos_token", own->bos);
    put("eos_token", own->eos);
    put("unk_token", own->unk);
    put("sep_token", own->sep);
    put("pad_token", own->pad);
    put("cls_token", own->cls);
    put("mask_token", own->mask);
  }
  for (const auto& [role, token] : declared.roles) {
    if (token.is_null()) {
      out.erase(role);
    } else {
      out[role] = token.at("content");
    }
  }
  return out;
}

}  // namespace lancet
