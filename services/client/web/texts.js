/** What the page says, in both languages. `other` and `one` are forms for numbers. */

import { translator } from "./web/language.js";

const en = {
  title: "Pokédex",
  skip: "Skip to the Pokédex",
  sections: "Sections",
  pokedex: "Pokédex",
  captures: "Captures",
  ranking: "Ranking",
  search: "Search by name or number",
  show: "Show",
  all: "All",
  held: "Held",
  favourite: "Favourites",
  found: { one: "{count} Pokémon", other: "{count} Pokémon" },
  more: "Show more",
  none_found: "No Pokémon is called “{query}”. Try a part of the name, or its number.",
  none_found_held: "No Pokémon that you hold is called “{query}”. Search among all of them.",
  none_held: "You hold no Pokémon yet. Show all of them, and capture one.",
  none_favourite: "You have no favourites yet. Press the star beside a Pokémon.",
  loading: "One moment…",

  capture: "Capture",
  release: "Release",
  capture_name: "Capture {name}",
  release_name: "Release {name}",
  favourite_name: "Favourite: {name}",
  is_held: "Held",
  is_favourite: "Favourite",
  is_gone: "Not held",

  captured: "{name} captured",
  released: "{name} released",
  made_favourite: "{name} is a favourite",
  made_unfavourite: "{name} is no longer a favourite",
  spoken_saved: "{deed}. Saved on this device.",

  saved: "Saved here",
  handed: "Handed over",
  pulled: "Pulled",
  stored: "Stored",
  refused: "Refused",
  elsewhere: "Elsewhere",
  not_yet: "not yet",
  way: "Way of the captures",
  saved_help: "on this device only",
  handed_help: "with the client",
  pulled_help: "on their way",
  stored_help: "in the database",
  refused_count: {
    one: "The client refused {count} capture.",
    other: "The client refused {count} captures.",
  },
  see_refused: "See why, among the captures",
  latest: "Latest captures",
  latest_of: "The latest {count} of {total}.",
  no_captures: "Nothing captured yet",
  no_captures_help: "Choose a Pokémon and press Capture. It is saved on this device at once, also without a network.",
  refusal: "The client refused it: {said}",
  refusal_silent: "The client took it as something else; it may be older than this page. Update it, then try again.",
  try_again: "Try again",
  try_again_name: "Try again: {name}",

  asking: "Asking the client…",
  answers: "Client answers",
  answers_since: "since {when}",
  silent: "Client is silent",
  away:
    "The client has not answered since {when}. Captures stay on this device, and are handed over when it " +
    "answers. Is it running, and is this device in its network?",
  busy:
    "The client has had no time since {when}. Captures stay on this device, and are tried again by themselves. " +
    "It says: {said}",
  forbidden:
    "The client has not let this page hand captures over since {when}. They stay on this device. Open the " +
    "page at the client's own address, or ask whoever runs it. It says: {said}",
  misdirected:
    "The client has not answered by this name since {when}. Captures stay on this device. Open the page as " +
    "localhost or by the client's IP address, or have the name added. It says: {said}",
  broken:
    "The client has not been able to take captures since {when}. They stay on this device, and are tried again by " +
    "themselves. If this goes on, look into the client's log. It says: {said}",
  unwell:
    "The client can't take captures now. What you capture stays on this device, and is handed over when it can. It " +
    "says: {said}",
  disk:
    "This browser's storage has not been usable since {when}. Close other tabs of this page, free some " +
    "space, and load it again. It says: {said}",
  not_saved:
    "{name} was NOT saved: this browser could not write it. Free some space on this device, and try again. It " +
    "says: {said}",
  no_storage:
    "This browser keeps nothing for this page, so nothing can be captured. Leave private browsing or allow the " +
    "site to store data, then load the page again. It says: {said}",
  no_species: "The list of Pokémon could not be loaded. Start the client, then load the page again. It says: {said}",
  closed: "The client tells all its captures to pullers only. This page shows those that were made in this browser.",
  no_ranking: "The ranking can't be told now. {said}",
  no_ranking_yet: "Nobody holds a Pokémon yet. What you capture stands here once it is stored.",
  as_of: "As of {when}",
  holders: { one: "held by {count} user", other: "held by {count} users" },
  foreign:
    "Something that is not the client has answered in its place since {when}: a proxy, or a network that wants a " +
    "login. Captures stay on this device, and are tried again by themselves. Load the page again to see it. It " +
    "says: {said}",
  newer: "A newer version of this page is open in another tab. Load this page again; what it has saved is there.",
  not_opened:
    "This browser's storage does not open, so nothing can be captured. Close the other tabs of this page, then load " +
    "it again.",
};

const pt = {
  title: "Pokédex",
  skip: "Ir para a Pokédex",
  sections: "Seções",
  pokedex: "Pokédex",
  captures: "Capturas",
  ranking: "Ranking",
  search: "Buscar por nome ou número",
  show: "Mostrar",
  all: "Todos",
  held: "Meus",
  favourite: "Favoritos",
  found: { one: "{count} Pokémon", other: "{count} Pokémon" },
  more: "Mostrar mais",
  none_found: "Nenhum Pokémon se chama “{query}”. Tente uma parte do nome, ou o número.",
  none_found_held: "Nenhum Pokémon seu se chama “{query}”. Busque entre todos.",
  none_held: "Você ainda não tem nenhum Pokémon. Mostre todos e capture um.",
  none_favourite: "Você ainda não tem favoritos. Toque na estrela ao lado de um Pokémon.",
  loading: "Um momento…",

  capture: "Capturar",
  release: "Soltar",
  capture_name: "Capturar {name}",
  release_name: "Soltar {name}",
  favourite_name: "Favorito: {name}",
  is_held: "Capturado",
  is_favourite: "Favorito",
  is_gone: "Livre",

  captured: "{name}: capturado",
  released: "{name}: solto",
  made_favourite: "{name}: agora é favorito",
  made_unfavourite: "{name}: não é mais favorito",
  spoken_saved: "{deed}. Salvo neste aparelho.",

  saved: "Salvo aqui",
  handed: "Entregue",
  pulled: "Coletado",
  stored: "Gravado",
  refused: "Recusado",
  elsewhere: "De fora",
  not_yet: "ainda não",
  way: "Caminho das capturas",
  saved_help: "só neste aparelho",
  handed_help: "com o cliente",
  pulled_help: "a caminho",
  stored_help: "no banco de dados",
  refused_count: {
    one: "O cliente recusou {count} captura.",
    other: "O cliente recusou {count} capturas.",
  },
  see_refused: "Veja por quê, nas capturas",
  latest: "Últimas capturas",
  latest_of: "As últimas {count} de {total}.",
  no_captures: "Nada capturado ainda",
  no_captures_help: "Escolha um Pokémon e toque em Capturar. Ele é salvo neste aparelho na hora, mesmo sem rede.",
  refusal: "O cliente recusou: {said}",
  refusal_silent: "O cliente guardou outra coisa; talvez seja mais antigo que esta página. Atualize-o e tente de novo.",
  try_again: "Tentar de novo",
  try_again_name: "Tentar de novo: {name}",

  asking: "Perguntando ao cliente…",
  answers: "Cliente responde",
  answers_since: "desde {when}",
  silent: "Cliente não responde",
  away:
    "O cliente não responde desde {when}. As capturas ficam neste aparelho e são entregues quando ele " +
    "responder. Ele está ligado, e este aparelho está na rede dele?",
  busy:
    "O cliente está sem tempo desde {when}. As capturas ficam neste aparelho, e uma nova tentativa vem " +
    "sozinha. Ele diz: {said}",
  forbidden:
    "O cliente não deixa esta página entregar capturas desde {when}. Elas ficam neste aparelho. Abra a página " +
    "no endereço do próprio cliente, ou fale com quem cuida dele. Ele diz: {said}",
  misdirected:
    "O cliente não responde por este nome desde {when}. As capturas ficam neste aparelho. Abra a página como " +
    "localhost ou pelo IP do cliente, ou peça que o nome seja incluído. Ele diz: {said}",
  broken:
    "O cliente não consegue receber capturas desde {when}. Elas ficam neste aparelho, e uma nova tentativa vem " +
    "sozinha. Se continuar, veja o log do cliente. Ele diz: {said}",
  unwell:
    "O cliente não consegue receber capturas agora. O que você capturar fica neste aparelho e é entregue quando " +
    "for possível. Ele diz: {said}",
  disk:
    "O armazenamento deste navegador não pode ser lido ou gravado desde {when}. Feche outras abas desta " +
    "página, libere espaço e carregue-a de novo. Ele diz: {said}",
  not_saved:
    "{name} NÃO foi salvo: este navegador não conseguiu gravar. Libere espaço no aparelho e tente de novo. Ele " +
    "diz: {said}",
  no_storage:
    "Este navegador não guarda nada para esta página, então nada pode ser capturado. Saia da navegação privada " +
    "ou permita que o site guarde dados, e carregue a página de novo. Ele diz: {said}",
  no_species:
    "A lista de Pokémon não pôde ser carregada. Ligue o cliente e carregue a página de novo. Mensagem: {said}",
  closed:
    "O cliente só conta todas as suas capturas aos coletores. Esta página mostra as que foram feitas neste " +
    "navegador.",
  no_ranking: "O ranking não está disponível agora. {said}",
  no_ranking_yet: "Ninguém tem um Pokémon ainda. O que você capturar aparece aqui quando estiver gravado.",
  as_of: "Atualizado: {when}",
  holders: { one: "com {count} usuário", other: "com {count} usuários" },
  foreign:
    "Algo que não é o cliente responde no lugar dele desde {when}: um proxy, ou uma rede que pede login. As " +
    "capturas ficam neste aparelho, e uma nova tentativa vem sozinha. Carregue a página de novo para ver. Ele " +
    "diz: {said}",
  newer: "Uma versão mais nova desta página está aberta em outra aba. Carregue esta de novo; o que ela salvou está lá.",
  not_opened:
    "O armazenamento deste navegador não abre, então nada pode ser capturado. Feche as outras abas desta página e " +
    "carregue-a de novo.",
};

/** A text in the page's language. */
export const text = translator({ en, pt });
