#pragma once
// Seeds on their way through a recipe: many at a time, rows out in the order of the seeds.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/progress.h"
#include "distill/executions.h"
#include "distill/seeds.h"
#include "distill/teacher/budget.h"
#include "distill/teacher/client.h"
#include "distill/turn.h"

namespace lancet {

struct ProductionCounts {
  std::uint64_t seeds = 0, rows = 0, refused = 0;  ///< refused: not admitted beside earlier rows
  std::uint64_t unreachable = 0;                   ///< seeds that ended for want of an answer
  std::map<std::string, std::uint64_t> dropped;    ///< seeds without a row, by reason
};

class Production {
 public:
  using Sink = std::function<void(const Json& row)>;

  /// `sink` gets every admitted row, in order.
  Production(const TurnContext& context, TeacherClient& client, Journal& journal,
             const Budget& budget, Sink sink);
  /// All items, to their end.
  void run(std::vector<SeedItem> items);
  [[nodiscard]] const ProductionCounts& counts() const noexcept { return counts_; }
  /// Rows so far; kept only for recipes that look back on them.
  [[nodiscard]] const std::vector<Json>& rows() const noexcept { return rows_; }

 private:
  struct Finished {
    std::vector<Json> rows;
    std::string dropped;
  };
  const TurnContext& context_;
  TeacherClient& client_;
  Journal& journal_;
  const Budget& budget_;
  Sink sink_;
  ProductionCounts counts_;
  std::vector<Json> rows_;
  std::map<std::size_t, std::unique_ptr<Turn>> active_;  ///< by number of the item
  std::map<std::size_t, Finished> finished_;
  std::size_t head_ = 0;                      ///< items before it have been written
  std::vector<std::function<void()>> known_;  ///< executions that the journal answers, to be told
  ExecutionPool executions_;

  void step(std::size_t number);
  void execute(const TeacherRequest& request, std::size_t number, std::size_t place);
  void take(std::size_t number, std::size_t place, const TeacherAnswer& answer);
  void wait();
  void finish(std::size_t number);
  void write_ready(Progress& progress, std::size_t total);
  void emit(Finished&& done);
};

}  // namespace lancet
