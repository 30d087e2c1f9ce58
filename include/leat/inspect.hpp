#pragma once

#include <leat/this_task.hpp>

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

namespace leat::inspect {

/// A place in an await chain.
struct frame_info {
    std::string function;
    std::string file;
    std::uint_least32_t line = 0;
};

/// One of several things that a task waits for at once.
struct case_info {
    std::string waits_for;
    std::uint64_t held_by = 0;
};

/// What a waiting task waits for, and why.
class task_info {
public:
    std::uint64_t id = 0;
    std::string name;
    /// Where it was spawned; for children of when_all() and its kin, and for spawn(f, args...), where its coroutine
    /// begins. Empty without the registry (build option).
    frame_info spawned_at;
    /// "receive", "sleep", "select"...; of a lock its name and who has it, also if that is a case of a select; empty if
    /// the task is not parked.
    std::string waits_for;
    /// The task that has the lock that this one waits for, be it the first of several; 0 if there is none. Whoever locked
    /// it: that a guard has been moved to another task is not known.
    std::uint64_t held_by = 0;
    std::vector<case_info> cases;   ///< of a select, each as if it were waited for alone
    bool parked = false;            ///< also in a blocking() call
    bool running = false;           ///< on a worker, while its turn was looked at
    std::vector<frame_info> chain;  ///< innermost first; empty if it is not parked
};

/// Every task of an executor that has waited at least once and has not ended, and those that run at the moment
/// on the workers of a runtime, in order of their ids. Only tasks that wait, or are in a blocking() call, have a
/// chain.
///
/// Threads  any, while the executor works; a parked task is held in place while its chain is read.
/// Cost     proportional to the tasks of the process.
std::vector<task_info> tasks(const executor& of);

/// The same as text, one task after the other.
void dump(std::ostream& to, const executor& of);
std::string report(const executor& of);

}  // namespace leat::inspect
