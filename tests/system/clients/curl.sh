#!/usr/bin/env bash
# curl in a loop: the id of the last whole frame goes along in Last-Event-ID.
id="" data="" event="" next=""
while true; do
  while IFS= read -r line; do
    case $line in
      "data: "*) data=${line#data: } ;;
      "id: "*) next=${line#id: } ;;
      "event: "*) event=${line#event: } ;;
      "")
        if [ -n "$next" ]; then id=$next; fi
        if [ -n "$event" ]; then printf '{"control": "%s"}\n' "$event"
        elif [ -n "$data" ]; then revision=${data#*\"revision\":}; printf '{"revision": %s, "bytes": %s}\n' "${revision%%,*}" "${#data}"; fi
        if [ "$event" = end ] && [[ $data != *shutdown* ]]; then exec sleep 3600; fi
        data="" event="" next="" ;;
    esac
  done < <(curl -sN ${id:+-H "Last-Event-ID: $id"} "$1")
  data="" event="" next=""
  sleep 0.04
done
