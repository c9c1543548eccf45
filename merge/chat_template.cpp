#include "merge/chat_template.h"

#include <algorithm>
#include <array>

#include "formats/template/chat_template.h"

namespace lancet {
namespace {

struct Named {
  std::string_view name, text;
};

constexpr std::array<Named, 5> kNamed{{
    {"alpaca",
     "{% for message in messages %}{% if message['role'] == 'system' and loop.first %}{{ "
     "message['content'] + '\\n\\n' }}"
     "{% elif message['role'] == 'user' %}{{ '### Instruction:\\n' + message['content'] + '\\n\\n' "
     "}}"
     "{% elif message['role'] == 'assistant' %}{{ '### Response:\\n' + message['content'] + "
     "eos_token + '\\n\\n' }}"
     "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '### Response:\\n' }}{% endif %}"},
    {"chatml",
     "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + "
     "message['content'] + '<|im_end|>' + '\\n' }}"
     "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"},
    {"exaone",
     "{% for message in messages %}{{ '[|' + message['role'] + '|]' + message['content'] }}"
     "{% if message['role'] == 'user' %}{{ '\\n' }}{% else %}{{ '[|endofturn|]\\n' }}{% endif %}{% "
     "endfor %}"
     "{% if add_generation_prompt %}{{ '[|assistant|]' }}{% endif %}"},
    {"llama3",
     "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + "
     "'<|end_header_id|>\\n\\n' + "
     "message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
     "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% "
     "endif %}"},
    {"mistral",
     "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}{{ ' ' + "
     "message['content'] + eos_token }}"
     "{% else %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% endif %}{% endfor %}"},
}};

/// The template that most inputs have; of equals the first.
std::string most_common(const std::vector<std::shared_ptr<const MergeInput>>& inputs) {
  std::vector<std::pair<std::string, int>> counts;
  for (const auto& input : inputs) {
    const auto text = input->chat_template();
    if (!text) continue;
    const auto known = std::ranges::find(counts, *text, &std::pair<std::string, int>::first);
    known == counts.end() ? static_cast<void>(counts.emplace_back(*text, 1))
                          : static_cast<void>(++known->second);
  }
  const auto most = std::ranges::max_element(counts, {}, &std::pair<std::string, int>::second);
  return most == counts.end() ? std::string() : most->first;
}

}  // namespace

std::vector<std::string_view> known_chat_templates() {
  std::vector<std::string_view> out{"auto"};
  for (const Named& named : kNamed) out.push_back(named.name);
  return out;
}

std::string choose_chat_template(const std::string& value,
                                 const std::vector<std::shared_ptr<const MergeInput>>& inputs) {
  constexpr std::size_t kShortestJinja = 20;
  if (value == "auto") return most_common(inputs);
  const auto named = std::ranges::find(kNamed, value, &Named::name);
  if (named != kNamed.end()) return std::string(named->text);
  if (value.size() < kShortestJinja || value.find('{') == value.npos) return {};
  static_cast<void>(ChatTemplate(value));  // throws where it does not parse
  return value;
}

}  // namespace lancet
