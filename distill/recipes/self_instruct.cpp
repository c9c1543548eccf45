// Self-Instruct (Wang et al. 2022, arXiv:2212.10560): a pool of tasks shows the teacher what tasks
// look like; it writes new ones; those unlike all before join the pool and are answered.
//   seeds {"prompt"} (people's tasks)  ->  rows {"messages", "instruction"}
// Each request shows `human` tasks of the seeds and `generated` of the rows (6 and 2 in the paper);
// a new task whose ROUGE-L with an earlier one exceeds `similarity` (0.7) is refused, as are tasks
// that need pictures. Works in rounds: all requests of a round see the pool of the round before,
// so that the result depends on no order of arrival.

#include <algorithm>

#include "core/rng.h"
#include "distill/overlap.h"
#include "distill/turn.h"

namespace lancet {
namespace {

using Kind = DataParameter::Kind;
constexpr DataParameter kParameters[] = {
    {.name = "rows",
     .kind = Kind::kInteger,
     .fallback = 100,
     .minimum = 1,
     .maximum = 1e7,
     .help = "Ends when so many tasks have been admitted"},
    {.name = "rounds",
     .kind = Kind::kInteger,
     .fallback = 20,
     .minimum = 1,
     .maximum = 1e5,
     .help = "Ends after so many rounds in any case"},
    {.name = "per_round",
     .kind = Kind::kInteger,
     .fallback = 32,
     .minimum = 1,
     .maximum = 1e5,
     .help = "Requests for new tasks in a round"},
    {.name = "human",
     .kind = Kind::kInteger,
     .fallback = 6,
     .minimum = 1,
     .maximum = 20,
     .help = "Seeds shown in a request"},
    {.name = "generated",
     .kind = Kind::kInteger,
     .fallback = 2,
     .minimum = 0,
     .maximum = 20,
     .help = "Generated tasks shown in a request, once there are some"},
    {.name = "similarity",
     .fallback = 0.7,
     .minimum = 0,
     .maximum = 1,
     .help = "Tasks with a larger ROUGE-L to an earlier one are refused"}};
constexpr std::string_view kPrompts[] = {"tasks"};

double number(const DataOptions& options, std::size_t index) { return options.numbers[index]; }

/// `count` different members of `pool`, by the round's random values.
void draw(const std::vector<std::string>& pool, std::size_t count, const Random& random,
          std::uint64_t first, Json& out) {
  std::vector<std::size_t> order(pool.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  for (std::size_t i = 0; i < std::min(count, order.size()); ++i) {
    const std::size_t left = order.size() - i;
    const auto pick =
        i + static_cast<std::size_t>(random.uniform64(first + i) * static_cast<double>(left));
    std::swap(order[i], order[std::min(pick, order.size() - 1)]);
    out.push_back(pool[order[i]]);
  }
}

std::vector<Json> next_round(const RoundInput& input) {
  const bool enough = static_cast<double>(input.rows.size()) >= number(input.options, 0);
  if (enough || input.round >= number(input.options, 1)) return {};
  std::vector<std::string> human, generated;
  for (const Json& seed : input.seeds) human.push_back(seed.at("prompt").get<std::string>());
  for (const Json& row : input.rows) generated.push_back(row.at("instruction").get<std::string>());
  std::vector<Json> out;
  for (std::uint32_t i = 0; i < number(input.options, 2); ++i) {
    const Random random(input.seed, "self_instruct", input.round << 16 | i);
    Json shown = Json::array();
    draw(human, static_cast<std::size_t>(number(input.options, 3)), random, 0, shown);
    draw(generated, static_cast<std::size_t>(number(input.options, 4)), random, 1000, shown);
    // The number makes equal draws different requests.
    out.push_back({{"prompt", "round"}, {"shown", shown}, {"number", input.round << 16 | i}});
  }
  return out;
}

/// Tasks of "Task 9: ..." blocks.
std::vector<std::string> tasks_in(const std::string& text) {
  std::vector<std::string> out;
  std::size_t at = text.find("Task ");
  while (at != text.npos) {
    const std::size_t colon = text.find(':', at);
    const std::size_t next = text.find("\nTask ", at);
    if (colon == text.npos || (next != text.npos && colon > next)) break;
    std::string task = text.substr(colon + 1, next == text.npos ? next : next - colon - 1);
    const std::size_t from = task.find_first_not_of(" \t\r\n");
    if (from != task.npos) {
      const std::size_t to = task.find_last_not_of(" \t\r\n");
      out.push_back(task.substr(from, to - from + 1));
    }
    at = next == text.npos ? next : next + 1;
  }
  return out;
}

/// The paper's heuristics: neither a stub nor an essay, and doable in text.
bool is_usable(const std::string& task) {
  const auto words = plain_words(task);
  if (words.size() < 3 || words.size() > 150) return false;
  for (const char* banned : {"image", "images", "picture", "pictures", "graph", "graphs", "draw",
                             "plot", "video", "audio", "photo"}) {
    if (std::find(words.begin(), words.end(), banned) != words.end()) return false;
  }
  return true;
}

void run(Turn& turn) {
  std::string shown;
  std::size_t number = 0;
  for (const Json& task : turn.seed().at("shown"))
    shown += "Task " + std::to_string(++number) + ": " + task.get<std::string>() + "\n";
  const std::string next = std::to_string(number + 1);
  const TeacherAnswer& list =
      turn.ask({.messages = chat(turn.prompt("tasks", {{"tasks", shown}, {"next", next}}))});
  std::vector<std::string> tasks;
  for (std::string& task : tasks_in(list.text)) {
    if (is_usable(task)) tasks.push_back(std::move(task));
  }
  std::vector<Ask> asks;
  for (const std::string& task : tasks) asks.push_back({.messages = chat(task), .may_fail = true});
  const auto answers = turn.ask_all(std::move(asks));
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    if (answers[i]->ending != Ending::kOk) continue;
    turn.emit({{"messages", with(chat(tasks[i]), "assistant", answers[i]->text)},
               {"instruction", tasks[i]}},
              answers[i]);
  }
}

bool admit(const Json& row, const std::vector<Json>& rows, const DataOptions& options) {
  if (static_cast<double>(rows.size()) >= number(options, 0)) return false;
  const auto mine = plain_words(row.at("instruction").get<std::string>());
  return std::none_of(rows.begin(), rows.end(), [&](const Json& other) {
    return rouge_l(mine, plain_words(other.at("instruction").get<std::string>())) >
           number(options, 5);
  });
}

}  // namespace

extern const DataRecipe data_recipe_self_instruct{
    .name = "self_instruct",
    .title = "New tasks from a pool of tasks",
    .paper = "arXiv:2212.10560",
    .needs = "prompt",
    .parameters = kParameters,
    .prompts = kPrompts,
    .requests = [](const DataOptions&) -> std::uint64_t { return 9; },
    .run = run,
    .next_round = next_round,
    .admit = admit};

}  // namespace lancet
