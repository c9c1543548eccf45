// Facts only. Patterns are looked for in the lower-case model name; of one family the longest that
// occurs counts, and a name may belong to several families (a distilled model and its base).

#include <algorithm>

#include "distill/licence.h"

namespace lancet {
namespace {

using Outputs = Licence::Outputs;

constexpr Licence kLicences[] = {
    {.id = "llama2",
     .title = "Llama 2 Community License",
     .outputs = Outputs::kOwnFamily,
     .notice = "Llama 2 is licensed under the LLAMA 2 Community License, Copyright (c) Meta "
               "Platforms, Inc. All Rights Reserved.",
     .source = "https://ai.meta.com/llama/license/"},
    {.id = "llama3",
     .title = "Meta Llama 3 Community License",
     .outputs = Outputs::kOwnFamily,
     .name_prefix = "Llama 3",
     .built_with = "Built with Meta Llama 3",
     .notice = "Meta Llama 3 is licensed under the Meta Llama 3 Community License, Copyright (c) "
               "Meta Platforms, Inc. All Rights Reserved.",
     .source = "https://llama.meta.com/llama3/license/"},
    {.id = "llama3.1",
     .title = "Llama 3.1 Community License",
     .name_prefix = "Llama",
     .built_with = "Built with Llama",
     .notice = "Llama 3.1 is licensed under the Llama 3.1 Community License, Copyright (c) Meta "
               "Platforms, Inc. All Rights Reserved.",
     .source = "https://www.llama.com/llama3_1/license/"},
    {.id = "llama3.2",
     .title = "Llama 3.2 Community License",
     .name_prefix = "Llama",
     .built_with = "Built with Llama",
     .notice = "Llama 3.2 is licensed under the Llama 3.2 Community License, Copyright (c) Meta "
               "Platforms, Inc. All Rights Reserved.",
     .source = "https://www.llama.com/llama3_2/license/"},
    {.id = "llama3.3",
     .title = "Llama 3.3 Community License",
     .name_prefix = "Llama",
     .built_with = "Built with Llama",
     .notice = "Llama 3.3 is licensed under the Llama 3.3 Community License, Copyright (c) Meta "
               "Platforms, Inc. All Rights Reserved.",
     .source = "https://www.llama.com/llama3_3/license/"},
    {.id = "llama4",
     .title = "Llama 4 Community License",
     .name_prefix = "Llama",
     .built_with = "Built with Llama",
     .notice = "Llama 4 is licensed under the Llama 4 Community License, Copyright (c) Meta "
               "Platforms, Inc. All Rights Reserved.",
     .source = "https://www.llama.com/llama4/license/"},
    {.id = "mit", .title = "MIT License", .source = "https://opensource.org/license/mit"},
    {.id = "apache-2.0",
     .title = "Apache License 2.0",
     .source = "https://www.apache.org/licenses/LICENSE-2.0"},
    {.id = "deepseek",
     .title = "DeepSeek Model License",
     .pass_on = true,
     .source = "https://github.com/deepseek-ai/DeepSeek-V3/blob/main/LICENSE-MODEL"},
    {.id = "gemma",
     .title = "Gemma Terms of Use",
     .pass_on = true,
     .source = "https://ai.google.dev/gemma/terms"},
    {.id = "hunyuan",
     .title = "Tencent Hunyuan Community License",
     .pass_on = true,
     .source = "https://github.com/Tencent/Tencent-Hunyuan-Large/blob/main/License.docx"},
    {.id = "qwen",
     .title = "Qwen License",
     .built_with = "Built with Qwen",
     .source = "https://huggingface.co/Qwen/Qwen2.5-72B-Instruct/blob/main/LICENSE"},
    {.id = "qwen-research",
     .title = "Qwen Research License",
     .built_with = "Built with Qwen",
     .non_commercial = true,
     .source = "https://huggingface.co/Qwen/Qwen2.5-3B-Instruct/blob/main/LICENSE"},
    {.id = "nvidia-open-model-license",
     .title = "NVIDIA Open Model License",
     .source = "https://developer.download.nvidia.com/licenses/"
               "nvidia-open-model-license-agreement-june-2024.pdf"},
    {.id = "mistral-research",
     .title = "Mistral AI Research License",
     .non_commercial = true,
     .source = "https://mistral.ai/licenses/MRL-0.1.md"},
    {.id = "cc-by-nc-4.0",
     .title = "Creative Commons Attribution-NonCommercial 4.0",
     .non_commercial = true,
     .source = "https://creativecommons.org/licenses/by-nc/4.0/"},
    {.id = "openai-terms",
     .title = "OpenAI Terms of Use",
     .outputs = Outputs::kForbidden,
     .source = "https://openai.com/policies/terms-of-use"},
    {.id = "anthropic-terms",
     .title = "Anthropic Commercial Terms of Service",
     .outputs = Outputs::kForbidden,
     .source = "https://www.anthropic.com/legal/commercial-terms"},
    {.id = "google-api-terms",
     .title = "Gemini API Additional Terms of Service",
     .outputs = Outputs::kForbidden,
     .source = "https://ai.google.dev/gemini-api/terms"},
};

struct Pattern {
  std::string_view family, text, licence;
};
constexpr Pattern kPatterns[] = {
    {"llama", "llama-2", "llama2"},
    {"llama", "llama2", "llama2"},
    {"llama", "codellama", "llama2"},
    {"llama", "llama-3", "llama3"},
    {"llama", "llama3", "llama3"},
    {"llama", "llama-3.1", "llama3.1"},
    {"llama", "llama3.1", "llama3.1"},
    {"llama", "llama-3_1", "llama3.1"},
    {"llama", "llama3_1", "llama3.1"},
    {"llama", "llama-3.2", "llama3.2"},
    {"llama", "llama3.2", "llama3.2"},
    {"llama", "llama-3_2", "llama3.2"},
    {"llama", "llama-3.3", "llama3.3"},
    {"llama", "llama3.3", "llama3.3"},
    {"llama", "llama-3_3", "llama3.3"},
    {"llama", "llama-4", "llama4"},
    {"llama", "llama4", "llama4"},
    {"llama", "deepseek-r1-distill-llama-8b", "llama3.1"},
    {"llama", "deepseek-r1-distill-llama-70b", "llama3.3"},
    {"deepseek", "deepseek-r1", "mit"},
    {"deepseek", "deepseek-v3", "deepseek"},
    {"deepseek", "deepseek-v3-0324", "mit"},
    {"deepseek", "deepseek-v3.1", "mit"},
    {"deepseek", "deepseek-v3.2", "mit"},
    {"deepseek", "deepseek-v2", "deepseek"},
    {"gemma", "gemma", "gemma"},
    {"gemma", "gemma-4", "apache-2.0"},
    {"hunyuan", "hunyuan", "hunyuan"},
    {"qwen", "qwen2.5", "apache-2.0"},
    {"qwen", "qwen3", "apache-2.0"},
    {"qwen", "qwq", "apache-2.0"},
    {"qwen", "qwen2.5-72b", "qwen"},
    {"qwen", "qwen2-72b", "qwen"},
    {"qwen", "qwen2.5-3b", "qwen-research"},
    {"qwen", "deepseek-r1-distill-qwen", "apache-2.0"},
    {"nemotron", "nemotron-4-340b", "nvidia-open-model-license"},
    {"nemotron", "nemotron4:340b", "nvidia-open-model-license"},
    {"mistral", "mistral-7b", "apache-2.0"},
    {"mistral", "mixtral", "apache-2.0"},
    {"mistral", "mistral-nemo", "apache-2.0"},
    {"mistral", "mistral-small", "apache-2.0"},
    {"mistral", "mistral-large", "mistral-research"},
    {"mistral", "ministral", "mistral-research"},
    {"cohere", "command-r", "cc-by-nc-4.0"},
    {"cohere", "c4ai-", "cc-by-nc-4.0"},
    {"cohere", "aya-", "cc-by-nc-4.0"},
    {"smollm", "smollm", "apache-2.0"},
    {"openai", "gpt-oss", "apache-2.0"},
    {"openai", "gpt-3.5", "openai-terms"},
    {"openai", "gpt-4", "openai-terms"},
    {"openai", "gpt-5", "openai-terms"},
    {"openai", "chatgpt", "openai-terms"},
    {"openai", "o1-", "openai-terms"},
    {"openai", "o3-", "openai-terms"},
    {"openai", "o4-mini", "openai-terms"},
    {"anthropic", "claude", "anthropic-terms"},
    {"google", "gemini", "google-api-terms"},
};

}  // namespace

std::span<const Licence> licence_table() { return kLicences; }

const Licence* find_licence(std::string_view id) noexcept {
  const auto* found = std::find_if(std::begin(kLicences), std::end(kLicences),
                                   [&](const Licence& licence) { return licence.id == id; });
  return found == std::end(kLicences) ? nullptr : found;
}

std::vector<const Licence*> licences_of(std::string_view model) {
  std::string name(model);
  for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  std::vector<const Pattern*> best;  // of each family
  for (const Pattern& pattern : kPatterns) {
    const std::size_t at = name.find(pattern.text);
    // "o1-" must not be found inside a word.
    const bool inside =
        at != std::string::npos && at > 0 && pattern.text.size() < 4 && name[at - 1] != '/';
    if (at == std::string::npos || inside) continue;
    const auto same = std::find_if(best.begin(), best.end(),
                                   [&](const Pattern* p) { return p->family == pattern.family; });
    if (same == best.end()) {
      best.push_back(&pattern);
    } else if (pattern.text.size() > (*same)->text.size()) {
      *same = &pattern;
    }
  }
  std::vector<const Licence*> licences;
  licences.reserve(best.size());
  for (const Pattern* pattern : best) licences.push_back(find_licence(pattern->licence));
  return licences;
}

}  // namespace lancet
